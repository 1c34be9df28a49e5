"""A lease on a directory of checkpoints, on a disk or in a bucket: one job writes to it at a time.

The lease is a small file in the directory that names its owner. The owner rewrites it every
`RENEWAL_SECONDS`. A lease that stays unchanged for `EXPIRY_SECONDS` may be taken over: a machine
that was preempted comes back under another name, and waits no longer than that. If the owner ran on
this very machine and is dead, its lease is taken over at once.

Every write states the generation of the file that it replaces, and the storage refuses it if there
is another one by now (TensorStore's conditional writes, on ``file`` and ``gs://``; those of
`S3Store` on ``s3://``). So of two jobs
that find the directory free, one gets it. Clocks of machines are not compared, except to tell a
lease that is minutes old.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import tensorstore
from etils import epath

from perl_jax.files import parse_json
from perl_jax.training.checkpoint.files import limit_silence
from perl_jax.training.checkpoint.hosts import describe
from perl_jax.training.checkpoint.record import CheckpointError
from perl_jax.training.checkpoint.s3_store import S3Store

logger = logging.getLogger(__name__)

LEASE = ".lease"
EXPIRY_SECONDS = 60.0
RENEWAL_SECONDS = 10.0
# A lease of this age is stale whatever the clocks of two machines may differ by.
_OLD_SECONDS = EXPIRY_SECONDS + 600.0
_POLL_SECONDS = 0.5
# A storage that has not answered a request by then has failed.
_ANSWER_SECONDS = 60.0


class LeaseError(CheckpointError):
    """Another job has the directory of checkpoints."""


@dataclass(frozen=True)
class Owner:
    """The job that has a lease.

    Attributes:
        token: Random; unique to the lease.
        host: The name of the machine.
        machine: This boot of the machine, and this space of process numbers; empty if unknown.
        process: The process number.
        born: When the process began, in the machine's own unit.
        run: The work directory.
        since: When the lease was taken, in seconds since 1970.
        renewed: When it was last renewed.
    """

    token: str
    host: str
    machine: str
    process: int
    born: str
    run: str
    since: float
    renewed: float

    @classmethod
    def me(cls, run: str) -> Self:
        """This process, for a new lease."""
        process, now = os.getpid(), time.time()
        token, host, born = secrets.token_hex(8), socket.gethostname(), _born(process) or ""
        return cls(token, host, _machine(), process, born, run, now, now)

    @classmethod
    def read(cls, content: bytes) -> Self | None:
        """The owner that a lease names; None if the file is damaged."""
        try:
            owner = cls(**parse_json(content))
        except (TypeError, ValueError):
            return None
        kinds = (isinstance(getattr(owner, field.name), field.type) for field in fields(cls))  # type: ignore[arg-type]
        return owner if all(kinds) and _is_time(owner.since) and _is_time(owner.renewed) else None

    def is_here(self) -> bool:
        """Whether its process would be seen from here."""
        return bool(self.machine) and self.machine == _machine()

    def is_dead(self) -> bool:
        """Whether its process is known to be gone."""
        return self.is_here() and _born(self.process) != self.born

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host} (workdir {self.run}, since {since})"


class Lease(AbstractContextManager["Lease"]):
    """Holds the lease on a directory while the block runs; see the module.

    Args:
        directory: An absolute local path or a URL; made if it is missing.
        run: The work directory of the run, for messages of other jobs.
        expiry: Seconds after which a lease that is not renewed may be taken over.
        renewal: Seconds between renewals.

    Raises:
        LeaseError: Another job has the directory, or the file cannot be written.
    """

    def __init__(
        self,
        directory: epath.Path,
        run: str,
        *,
        expiry: float = EXPIRY_SECONDS,
        renewal: float = RENEWAL_SECONDS,
    ) -> None:
        self._directory = directory
        self._store = _open(directory)
        self._owner = Owner.me(run)
        self._expiry, self._renewal = expiry, renewal
        self._generation = b""
        self._taken_by = ""
        self._mutex, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stopped, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._take()
        except LeaseError:
            raise
        except Exception as error:
            raise LeaseError(
                f"checkpoint.directory: expected a directory to write to; got {self._directory}, "
                f"where {LEASE} cannot be written: {type(error).__name__}: {error}"
            ) from error
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        # A bucket that does not answer must not keep the process.
        self._thread.join(max(self._renewal, 4 * _POLL_SECONDS))
        try:
            # Only if it is still this one.
            self._answer(self._store.write(LEASE, None, if_equal=self._generation), self._renewal)
        except Exception as failure:
            logger.warning("%s: the lease stays: %s", self._directory, failure)

    def check(self) -> None:
        """Renews the lease.

        Raises:
            LeaseError: Another job has taken it, because this one did not renew it for too long.
            CheckpointError: The storage refuses to renew it, or does not answer.
        """
        with self._mutex:
            if not self._taken_by:
                try:
                    self._renew()
                except Exception as error:
                    raise CheckpointError(
                        f"{self._directory}: {LEASE} cannot be renewed, so nothing more is saved; "
                        f"older steps are still there: {describe(error)}"
                    ) from error
            if self._taken_by:
                raise LeaseError(
                    f"{self._directory}: {self._taken_by} has taken over the directory of "
                    f"checkpoints, as this job did not renew its lease for {self._expiry:g} s; "
                    "nothing more is saved"
                )

    def _take(self) -> None:
        """Writes the lease, once nobody else has it."""
        first: bytes | None = None
        began = time.monotonic()
        while True:
            found = self._answer(self._store.read(LEASE))
            generation = found.stamp.generation
            owner = Owner.read(found.value) if found.state == "value" else None
            if found.state != "value" or self._is_stale(owner, began, first == generation):
                if owner is not None:
                    logger.warning("%s: takes over the lease of %s", self._directory, owner)
                if self._write(generation):
                    return
            elif owner is not None and (owner.is_here() or first not in (None, generation)):
                raise LeaseError(self._refusal(owner))
            elif first is None:
                logger.warning(
                    "%s: leased by %s; waits for at most %g s to see whether it still runs",
                    self._directory, owner or "an unknown job", self._expiry,
                )  # fmt: skip
            first = first or generation
            time.sleep(min(_POLL_SECONDS, self._expiry / 4))

    def _is_stale(self, owner: Owner | None, began: float, unchanged: bool) -> bool:
        if owner is not None and owner.is_here():
            # It may stand still without being gone.
            return owner.is_dead()
        if owner is not None and time.time() - owner.renewed > _OLD_SECONDS:
            return True
        return unchanged and time.monotonic() - began > self._expiry

    def _refusal(self, owner: Owner) -> str:
        age = max(0.0, time.time() - owner.renewed)
        return (
            f"checkpoint.directory {self._directory}: in use by {owner}, which renewed its lease "
            f"{age:.0f} s ago. Stop that job, or give another --config.checkpoint.directory. The "
            f"lease of a job that is gone ends by itself after {self._expiry:g} s"
        )

    def _write(self, replaced: bytes) -> bool:
        """Writes the lease in place of this generation; False if another one is there."""
        owner = asdict(self._owner) | {"renewed": time.time()}
        content = json.dumps(owner).encode()
        written = self._store.write(LEASE, content, if_equal=replaced)
        generation = self._answer(written).generation
        if generation:
            self._generation = generation
        return bool(generation)

    def _renew(self) -> None:
        if self._write(self._generation):
            return
        found = self._answer(self._store.read(LEASE))
        owner = Owner.read(found.value) if found.state == "value" else None
        # A write may have been repeated although it had succeeded.
        if owner is not None and owner.token == self._owner.token:
            self._generation = found.stamp.generation
        # Somebody may have emptied the directory.
        elif found.state == "value" or not self._write(found.stamp.generation):
            self._taken_by = str(owner or "another job")

    def _answer(self, future: Any, seconds: float | None = None) -> Any:
        """What the storage answers; TimeoutError if it does not, or if the lease is given back.

        No thread may wait in TensorStore when the interpreter ends: that would abort the process.
        """
        patience = _ANSWER_SECONDS if seconds is None else seconds
        ends = time.monotonic() + patience
        renews = threading.current_thread() is self._thread
        while True:
            try:
                return future.result(timeout=min(_POLL_SECONDS, patience))
            except TimeoutError:
                if time.monotonic() >= ends or (renews and self._stop.is_set()):
                    raise TimeoutError(f"no answer within {patience:g} s") from None

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(self._renewal):
            with self._mutex:
                if self._taken_by:
                    return
                try:
                    self._renew()
                except Exception as error:
                    logger.warning("%s: the lease was not renewed: %s", self._directory, error)
            if self._taken_by:
                logger.error("%s: %s has taken the lease", self._directory, self._taken_by)


def _open(directory: epath.Path) -> Any:
    limit_silence()
    path = os.fspath(directory)
    if path.startswith("s3://"):
        return S3Store(path)
    spec: Any = f"{path.rstrip('/')}/" if "://" in path else {"driver": "file", "path": f"{path}/"}
    return tensorstore.KvStore.open(spec).result()


def _is_time(seconds: float) -> bool:
    """Whether it can be shown as a date; NaN cannot."""
    return 0 <= seconds < 1e11


def _machine() -> str:
    """This boot of this machine and this space of process numbers; empty where it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(process: int) -> str | None:
    """When a process began; None if there is none of that number that runs."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything. After it: the state, ..., the time of the start.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
