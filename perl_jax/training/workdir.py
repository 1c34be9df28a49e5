"""A lock on the work directory, fingerprints of a run, and an orderly stop on signals."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Mapping
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

    Attributes:
        received: The first signal received, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this host was asked to stop."""
        return self.received is not None

    def agreed(self) -> bool:
        """Whether any host was asked to stop, the same on all hosts. All of them must call this."""
        return any(gather(self.requested, "whether to stop"))

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
        # No logging here: it could interrupt a write to the same stream and fail.
        self.received = self.received or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
