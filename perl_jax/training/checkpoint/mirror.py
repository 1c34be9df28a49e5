"""Steps on ``s3://``, where Orbax does not write: it writes to the disk, and steps are copied.

::

    s3://BUCKET/FOLDER/STEP/...            the files of a step, as Orbax wrote them
    s3://BUCKET/FOLDER/STEP/complete.json  written last: their sizes, and a random word
    WORKDIR/.checkpoints/STEP/...          the same files on the disk, with the same complete.json

The bucket decides which steps there are: a step without ``complete.json`` does not count, and a
step on the disk counts only if its ``complete.json`` is that of the bucket.
"""

import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Mapping
from functools import cached_property
from os import fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from perl_jax.files import parse_json
from perl_jax.storage import RemoteFolder
from perl_jax.training.checkpoint.files import RECORD, StepFiles, absolute
from perl_jax.training.checkpoint.hosts import describe
from perl_jax.training.checkpoint.record import CheckpointError, StepRecord

logger = logging.getLogger(__name__)

COMPLETE = "complete.json"
_POLL_SECONDS = 0.02


def is_mirrored(directory: epath.Path) -> bool:
    """Whether steps are written to the disk first and then copied there."""
    return fspath(directory).startswith("s3://")


def open_steps(
    directory: epath.Path, staging: Path | None = None, *, asynchronous: bool = True
) -> "StepFiles | MirroredSteps":
    """The steps in an absolute directory or at a URL.

    Args:
        directory: Where they are.
        staging: See `MirroredSteps`; a local directory needs none.
        asynchronous: Whether files are written while training continues.
    """
    if is_mirrored(directory):
        return MirroredSteps(directory, staging, asynchronous=asynchronous)
    return StepFiles(directory, asynchronous=asynchronous)


class MirroredSteps:
    """The steps in a folder of a bucket, with the methods of `StepFiles`; for a run on one host.

    A save is written to the disk and then copied in a thread. A copy that fails is logged and tried
    again at the next save; `finish` tries for the last time and raises. Until all steps are copied,
    none is deleted in the bucket.

    Args:
        directory: The URL of the folder.
        staging: A directory of the run on the disk, which nothing else writes to. None: steps are
            read only, into a temporary directory.
        asynchronous: See `StepFiles`.
    """

    def __init__(
        self, directory: epath.Path, staging: Path | None, *, asynchronous: bool = True
    ) -> None:
        self.directory = directory
        self._far = RemoteFolder(fspath(directory))
        self._staging, self._asynchronous = staging, asynchronous
        self._temporary: TemporaryDirectory[str] | None = None
        # The steps on the disk that this process wrote, fetched or compared with the bucket's.
        self._here: set[int] = set()
        self._kept: set[int] = set()
        self._thread: threading.Thread | None = None
        # Why the bucket is behind the disk; empty if it is not.
        self._fault = ""

    @cached_property
    def _local(self) -> StepFiles:
        place: Path | str
        if self._staging is None:
            self._temporary = TemporaryDirectory()
            place = self._temporary.name
        else:
            place = self._staging
        return StepFiles(absolute(place), asynchronous=self._asynchronous)

    def path(self, step: int) -> epath.Path:
        """The URL of a step."""
        return self.directory / str(step)

    def steps(self) -> list[int]:
        """The complete steps in the bucket, ascending."""
        return self.seen()

    def seen(self) -> list[int]:
        """The complete steps in the bucket, ascending."""
        return sorted(
            step
            for step, names in _by_step(self._far.sizes()).items()
            if f"{step}/{COMPLETE}" in names
        )

    def record(self, step: int) -> StepRecord:
        """The record of a step; raises some exception if it is not intact."""
        if step in self._here:
            return self._local.record(step)
        with TemporaryDirectory() as temporary:
            files = StepFiles(epath.Path(temporary))
            self._download(step, Path(files.path(step)), f"{RECORD}/")
            return files.record(step)

    def arrays(
        self, step: int, abstract: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, jax.Array]:
        """Reads these arrays with the given shardings; raises some exception if it cannot."""
        self._fetch(step)
        return self._local.arrays(step, abstract)

    def check(self, record: StepRecord, data: Mapping[str, Any]) -> None:
        """Raises an exception unless the metadata on the disk match these arrays."""
        self._local.check(record, data)

    @property
    def busy(self) -> bool:
        """Whether a save is still being written or copied."""
        return self._local.busy or (self._thread is not None and self._thread.is_alive())

    def save(self, step: int, items: ocp.args.Composite) -> None:
        """Starts a save that replaces any step with this number.

        Raises:
            CheckpointError: It could not be started.
        """
        self._forget_earlier()
        self._local.save(step, items)
        self._here.add(step)
        self._thread = threading.Thread(target=self._copy_when_written, daemon=True)
        self._thread.start()

    def join(self, step: int) -> None:
        """Waits until this step's save is written and copied, or could not be copied for now.

        Raises:
            CheckpointError: It could not be written to the disk.
        """
        try:
            self._local.join(step)
        finally:
            self._wait_for_copy()

    def delete_all_but(self, kept: Collection[int]) -> None:
        """Deletes all other steps, on the disk and in the bucket."""
        self._local.delete_all_but(kept)
        self._kept = set(kept)
        if not self._fault:
            self._fault = self._delete_far()

    def finish(self) -> None:
        """Copies what could not be copied before.

        Raises:
            CheckpointError: It still cannot.
        """
        if not self._fault:
            return
        self._fault = self._copy_late() or self._delete_far()
        if self._fault:
            place = self._local.directory
            raise CheckpointError(
                f"{self.directory} is behind the checkpoints of this run, which are in {place} "
                f"(--config.checkpoint.directory={place} goes on from there): {self._fault}"
            )

    def close(self) -> None:
        """Waits for the save and the copy under way, and logs their failures."""
        self._local.close()
        self._wait_for_copy()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _copy_when_written(self) -> None:
        while self._local.busy:
            time.sleep(_POLL_SECONDS)
        self._fault = self._copy_late()

    def _wait_for_copy(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _copy_late(self) -> str:
        """Copies the steps that the bucket does not have yet; returns why it could not."""
        try:
            for step in sorted(self._local.seen()):
                if not (self._local.path(step) / COMPLETE).exists():
                    self._upload(step)
        except Exception as error:
            return self._told(error)
        return ""

    def _delete_far(self) -> str:
        """Deletes the steps that are not kept, complete or not; returns why it could not."""
        try:
            for step, names in _by_step(self._far.sizes()).items():
                if step not in self._kept:
                    self._remove(step, names)
        except Exception as error:
            return self._told(error)
        return ""

    def _told(self, error: Exception) -> str:
        text = describe(error)
        logger.error("%s is not up to date, the next save tries again: %s", self.directory, text)
        return text

    def _remove(self, step: int, names: Collection[str]) -> None:
        """Deletes these files of a step; from the first request on, it is not complete."""
        marker = f"{step}/{COMPLETE}"
        self._far.delete([name for name in names if name == marker])
        self._far.delete([name for name in names if name != marker])

    def _upload(self, step: int) -> None:
        place = Path(self._local.path(step))
        sizes = {
            path.relative_to(place).as_posix(): path.stat().st_size
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
        self._remove(step, list(self._far.sizes(str(step))))
        for name in sizes:
            self._far.put(place / name, f"{step}/{name}")
        there = self._far.sizes(str(step))
        if there != {f"{step}/{name}": size for name, size in sizes.items()}:
            raise CheckpointError(f"{self.path(step)}: expected the files that were copied; it has "
                                  f"others: {sorted(there)}")  # fmt: skip
        marker = json.dumps({"files": sizes, "copy": secrets.token_hex(8)}).encode()
        self._far.write(f"{step}/{COMPLETE}", marker)
        (place / COMPLETE).write_bytes(marker)

    def _fetch(self, step: int) -> None:
        """Makes the step on the disk that of the bucket."""
        if step in self._here:
            return
        place = Path(self._local.path(step))
        if not self._is_current(step, place):
            part = place.with_name(f".{step}.part")
            for old in (part, place):
                shutil.rmtree(old, ignore_errors=True)
            self._download(step, part)
            part.rename(place)
        self._here.add(step)

    def _is_current(self, step: int, place: Path) -> bool:
        """Whether the files on the disk are those of the bucket."""
        marker = place / COMPLETE
        if not marker.exists() or marker.read_bytes() != self._far.read(f"{step}/{COMPLETE}"):
            return False
        files = parse_json(marker.read_bytes())["files"]
        return all(
            (place / name).is_file() and (place / name).stat().st_size == size
            for name, size in files.items()
        )

    def _download(self, step: int, target: Path, prefix: str = "") -> None:
        """Copies the files of a step whose names begin so; ``complete.json`` comes last."""
        marker = self._far.read(f"{step}/{COMPLETE}")
        for name, size in parse_json(marker)["files"].items():
            if name.startswith(prefix):
                self._far.fetch(f"{step}/{name}", size, target / name)
        (target / COMPLETE).write_bytes(marker)

    def _forget_earlier(self) -> None:
        """Removes steps from the disk that an earlier process left and the run does not go on from.

        Another machine may have taken the run further since, so they would not belong to it.
        """
        place = Path(self._local.directory)
        for step in self._local.seen():
            if step not in self._here:
                path = Path(self._local.path(step))
                if not (path / COMPLETE).exists():
                    logger.warning("%s was never copied to %s and goes", path, self.directory)
                shutil.rmtree(path)
        for part in place.glob(".*.part"):
            shutil.rmtree(part)


def _by_step(names: Collection[str]) -> dict[int, list[str]]:
    """The names of files by the step that they belong to; others are left out."""
    steps: dict[int, list[str]] = {}
    for name in names:
        first, slash, _ = name.partition("/")
        if slash and first.isdigit() and first == str(int(first)):
            steps.setdefault(int(first), []).append(name)
    return steps
