"""Writes the records of a split to ArrayRecord files, and keeps those that an earlier run wrote.

TFDS's own writers take no finished shards over, and their records differ from process to process.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from perl_jax.files import write_whole

# TFDS's own setting: every record can be read by itself.
_OPTIONS = "group_size:1"


@dataclass(frozen=True)
class Shard:
    """One finished file.

    Attributes:
        file: Its name.
        rows: The rows of the split that were read up to its last record, dropped ones included.
        examples: How many records it holds.
        record_bytes: Their size before compression.
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
    """The finished shards of a build, in a file that is replaced as a whole.

    Args:
        path: The file, in the directory of the shards.
        request: What the build is asked for, in values as JSON holds them. The shards of another
            request do not count.
    """

    def __init__(self, path: Path, request: dict[str, Any]):
        self._path = path
        self._request = request
        self._shards: dict[str, list[Shard]] = {}
        if not path.exists():
            return
        state = json.loads(path.read_text(encoding="utf-8"))
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


def write_shards(
    records: Iterator[tuple[int, bytes]], prefix: Path, split: str, size: int, done: FinishedShards
) -> None:
    """Writes the records that follow those of the finished shards of a split.

    Args:
        records: With each, the number of rows of the split that were read up to it.
        prefix: How the paths of shards begin.
        split: The split.
        size: A shard is finished once its records have so many bytes.
        done: The finished shards; takes the new ones.

    Raises:
        OSError: The storage fails.
    """
    for number in itertools.count(len(done.shards(split))):
        first = next(records, None)
        if first is None:
            return
        path = Path(f"{prefix}-{split}.array_record-{number:05d}")
        done.add(split, _write_shard(path, itertools.chain([first], records), size))


def _write_shard(path: Path, records: Iterable[tuple[int, bytes]], size: int) -> Shard:
    rows = examples = record_bytes = 0
    with _storage(path):
        writer = ArrayRecordWriter(str(path), _OPTIONS)
    try:
        for rows, record in records:  # noqa: B007 - the last one counts
            with _storage(path):
                writer.write(record)
            examples += 1
            record_bytes += len(record)
            if record_bytes >= size:
                break
    finally:
        with _storage(path):
            writer.close()
    # What is noted as finished must be there after a crash of the machine too.
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return Shard(path.name, rows, examples, record_bytes, path.stat().st_size, sha256(path))


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Makes an OSError of what the writer says of the storage."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"{path}: cannot be written: {error}") from error


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
