"""A lock on the work directory, fingerprints of a run, and an orderly stop on signals."""

import contextlib
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, Self

import perl_jax
from perl_jax.files import lock
from perl_jax.hosts import gather


def lock_workdir(path: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """Makes a work directory and keeps other processes out of it; see `perl_jax.files.lock`.

    If several hosts share the directory, one of them locks it.

    Raises:
        ValueError: It is a bucket.
        LockError: See `perl_jax.files.lock`.
    """
    if "://" in os.fspath(path):
        raise ValueError(
            f"workdir {path}: expected a local directory; got a URL. Checkpoints may lie in a "
            "bucket: --config.checkpoint.directory=gs://..."
        )
    return lock(path, "workdir")


def fingerprint_of_config(config: Mapping[str, Any]) -> str:
    """A digest of a nested configuration that does not depend on the order of its entries.

    Raises:
        ValueError: It holds something that JSON cannot.
    """
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"config: expected what JSON can hold; {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_of_code() -> str:
    """A digest of the Python files of this package, their names included."""
    assert perl_jax.__file__ is not None
    root = Path(perl_jax.__file__).parent
    contents = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.py")}
    return fingerprint_of_config(
        {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    )


class Preemption:
    """Turns SIGTERM and the first SIGINT into a request: a context manager for the main thread.

    A step or a save under way continues undisturbed, however many SIGTERMs come. A second SIGINT
    has its previous effect, so that an impatient user can interrupt. The end of the block restores
    the earlier handlers; one that was not installed from Python becomes the default one.

    Args:
        answers: Whether the first signal of each kind is answered at once on standard error.

    Attributes:
        received: The first signal received, or None.
        finishing: The work that is finished before the run stops, such as ``step 12``.
    """

    def __init__(self, *, answers: bool = False) -> None:
        self.received: signal.Signals | None = None
        self.finishing = "the start"
        self._answers = answers
        self._answered: set[int] = set()
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this host was asked to stop."""
        return self.received is not None

    def agreed(self) -> bool:
        """Whether any host was asked to stop, the same on all hosts. All of them must call this."""
        return any(gather(self.requested, "whether to stop"))

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turns the exception of the second SIGINT into one that says what was interrupted.

        Raises:
            Interrupted: The second SIGINT came within the block.
        """
        try:
            yield
        except KeyboardInterrupt:
            if not self.requested:
                raise
            raise Interrupted(
                f"stopped at once, in {self.finishing}; the same command goes on from the last "
                "checkpoint"
            ) from None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Preemption: expected the main thread, which receives signals")
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, self._receive)
            self._before[number] = signal.SIG_DFL if before is None else before
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        if self._answers and number not in self._answered:
            self._answered.add(number)
            _write_to_stderr(self._answer(number))

    def _answer(self, number: int) -> str:
        if number == signal.SIGINT:
            return f"finishing {self.finishing}, again to stop now"
        return f"asked to stop by {signal.Signals(number).name}: finishing {self.finishing}"


def _write_to_stderr(text: str) -> None:
    """Writes a line at once, from a signal handler.

    Not by print or logging: the handler may have interrupted a write to the same stream, whose
    buffer and locks are then in use. The line starts on a new one, as a bar may stand there.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


class Interrupted(RuntimeError):
    """A run was interrupted while it finished a step; its last checkpoint is as it was."""
