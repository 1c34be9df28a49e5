"""Counts runs of the compiler."""

from typing import Self

from jax import monitoring

_EVENT = "/jax/core/compile/backend_compile_duration"


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
        self._count += event == _EVENT
