"""How often the compiler ran."""

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class CompilationCounter:
    """Counts compilations while it is entered, whoever asked for them."""

    def __init__(self) -> None:
        self._count = 0
        self._active = False

    def __enter__(self) -> "CompilationCounter":
        self._active = True
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error: object) -> None:
        # Listeners cannot be taken back by a public function: it only goes deaf.
        self._active = False

    def take(self) -> int:
        """How many there were since the last call."""
        count, self._count = self._count, 0
        return count

    def _listen(self, event: str, duration_secs: float, **details: str | int) -> None:
        self._count += self._active and event == _EVENT
