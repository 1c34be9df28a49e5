"""Counts and times runs of the compiler."""

import re
import threading
import time
from collections.abc import Callable
from typing import Self

from jax import monitoring

_COMPILE = "/jax/core/compile/backend_compile_duration"
# What comes before the compiler proper: a large program takes seconds to trace and to lower.
_EVENTS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    _COMPILE,
)
# A program is traced, lowered and compiled without a pause.
_PAUSE_SECONDS = 0.5


class CompilationCounter:
    """Counts the compilations of this process between entering and leaving the context."""

    def __enter__(self) -> Self:
        self._count = 0
        monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error: object) -> None:
        monitoring.unregister_event_duration_listener(self._listen)

    def take(self) -> int:
        """The number of compilations since the last call."""
        count, self._count = self._count, 0
        return count

    def _listen(self, event: str, duration_secs: float, **details: str | int) -> None:
        self._count += event == _COMPILE


class CompilationWatch:
    """Times the compilations of the thread that makes it: tracing, lowering, compiling.

    It listens between entering and leaving the context.

    Args:
        clock: Gives seconds.
        compiled: Called with the name of a program and the seconds that it took, when it is done.

    Attributes:
        name: The program at which the compiler is now, or was last.
        seconds: The time of all compilations so far.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        compiled: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> None:
        self.name = ""
        self.seconds = 0.0
        self._clock, self._compiled = clock, compiled
        self._thread = threading.get_ident()
        # Tracing a program traces the programs that it calls.
        self._depth = 0
        self._began = self._resumed = self._paused = clock()

    def __enter__(self) -> Self:
        monitoring.register_scalar_listener(self._start)
        monitoring.register_event_duration_secs_listener(self._end)
        return self

    def __exit__(self, *error: object) -> None:
        monitoring.unregister_scalar_listener(self._start)
        monitoring.unregister_event_duration_listener(self._end)

    @property
    def under_way(self) -> float:
        """For how many seconds the current program has been compiled; 0 if there is none."""
        return self._clock() - self._began if self._depth else 0.0

    def _start(self, event: str, value: float | int, **details: str | int) -> None:
        if event not in _EVENTS or threading.get_ident() != self._thread:
            return
        self._depth += 1
        if self._depth == 1:
            self._resumed = self._clock()
            name = _plain_name(str(details.get("fun_name", "")))
            if name != self.name or self._resumed - self._paused > _PAUSE_SECONDS:
                self.name, self._began = name, self._resumed

    def _end(self, event: str, duration_secs: float, **details: str | int) -> None:
        if event not in _EVENTS or threading.get_ident() != self._thread or not self._depth:
            return
        self._depth -= 1
        if self._depth == 0:
            self._paused = self._clock()
            self.seconds += self._paused - self._resumed
            if event == _COMPILE:
                self._compiled(self.name, self._paused - self._began)
                self.name = ""


def _plain_name(name: str) -> str:
    """``decode`` of ``jit(decode)``."""
    name = re.sub(r"^\w+\((.*)\)$", r"\1", name)
    return name if name.isidentifier() else "a program"
