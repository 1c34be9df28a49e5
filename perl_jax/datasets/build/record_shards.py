"""Writes the records of a split to ArrayRecord files, and keeps those that an earlier run wrote."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from perl_jax.files import write_whole

# TFDS's own setting: every record can be read by itself.
_OPTIONS = "group_size:1"
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Shard:
    """One finished file.

    Attributes:
        file: Its name.
        rows: How many rows of the split had been read when it was finished, dropped ones included.
        examples: How many records it holds.
        record_bytes: The size of these, before compression.
        size: Of the file, in bytes.
        sha256: Of the file.
    """

    file: str
    rows: int
    examples: int
    record_bytes: int
    size: int
    sha256: str


class FinishedShards:
    """Which shards of a build are finished, in a file that is replaced as a whole.

    Args:
        path: The file.
        request: What the build is asked for, in values as JSON holds them. The shards of another
            one do not count.
    """

    def __init__(self, path: Path, request: dict[str, Any]):
        self._path = path
        self._request = request
        self._shards: dict[str, list[Shard]] = {}
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        shards = {
            split: [Shard(**shard) for shard in shards] for split, shards in state["shards"].items()
        }
        there = all(_is_there(path.parent, shard) for done in shards.values() for shard in done)
        if state["request"] == request and there:
            self._shards = shards

    def shards(self, split: str) -> list[Shard]:
        """The finished shards of a split."""
        return self._shards.get(split, [])

    def add(self, split: str, shard: Shard) -> None:
        """Notes a finished shard."""
        self._shards.setdefault(split, []).append(shard)
        shards = {name: [asdict(one) for one in done] for name, done in self._shards.items()}
        write_whole(self._path, json.dumps({"request": self._request, "shards": shards}))


def _is_there(directory: Path, shard: Shard) -> bool:
    path = directory / shard.file
    return path.is_file() and path.stat().st_size == shard.size


class RecordWriter:
    """The shards of one split, a record after the other; a context manager.

    Args:
        directory: Where they go.
        prefix: How their names begin.
        split: The split.
        shard_bytes: A shard is finished once its records have so many bytes.
        progress: Of the build.
    """

    def __init__(
        self, directory: Path, prefix: str, split: str, shard_bytes: int, progress: FinishedShards
    ):
        self._directory, self._prefix, self._split = directory, prefix, split
        self._shard_bytes, self._progress = shard_bytes, progress
        self._writer: ArrayRecordWriter | None = None
        self._examples = self._record_bytes = 0

    @property
    def rows_done(self) -> int:
        """How many rows of the split need no writing any more."""
        shards = self._progress.shards(self._split)
        return shards[-1].rows if shards else 0

    def write(self, record: bytes, rows: int) -> None:
        """Writes a record; ``rows`` rows of the split have been read, with this one.

        Raises:
            OSError: The storage fails.
        """
        try:
            if self._writer is None:
                self._writer = ArrayRecordWriter(str(self._path), _OPTIONS)
            self._writer.write(record)
        except RuntimeError as error:
            raise OSError(f"{self._path}: cannot be written: {error}") from error
        self._examples += 1
        self._record_bytes += len(record)
        if self._record_bytes >= self._shard_bytes:
            self.finish(rows)

    def finish(self, rows: int) -> None:
        """Finishes the shard that is being written, if any, and notes it.

        Raises:
            OSError: The storage fails.
        """
        if self._writer is None:
            return
        path = self._path
        try:
            self._writer.close()
        except RuntimeError as error:
            raise OSError(f"{path}: cannot be written: {error}") from error
        self._writer = None
        # What is noted as finished must be there after a crash of the machine too.
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        shard = Shard(
            path.name, rows, self._examples, self._record_bytes, path.stat().st_size, sha256(path)
        )
        self._examples = self._record_bytes = 0
        self._progress.add(self._split, shard)

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:  # left by an error: the file does not count
            self._writer.close()
            self._writer = None

    @property
    def _path(self) -> Path:
        number = len(self._progress.shards(self._split))
        return self._directory / f"{self._prefix}-{self._split}.array_record-{number:05d}"


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
