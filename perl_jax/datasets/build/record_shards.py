"""Writes a split's records to ArrayRecord files and keeps the finished files of earlier runs.

TFDS's writers cannot reuse finished shards, and their records differ from process to process.
"""

import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from perl_jax.files import parse_json, write_whole
from perl_jax.settings import plain

# As TFDS sets it: every record can be read alone.
_OPTIONS = "group_size:1"


@dataclass(frozen=True)
class Shard:
    """One finished file.

    Attributes:
        rows: The number of the split's rows up to its last record, including dropped ones.
        examples: Its number of records.
        record_bytes: The records' size before compression.
        size: The file's size in bytes.
    """

    file: str
    rows: int
    examples: int
    record_bytes: int
    size: int
    sha256: str


class FinishedShards:
    """The list of a build's finished shards, in a file that is replaced atomically.

    Args:
        path: The file, in the directory of the shards.
        request: The build's arguments as JSON values; shards of another request are ignored.

    Attributes:
        shards: The shards by split.
    """

    def __init__(self, path: Path, request: dict[str, Any]):
        self._path = path
        self._request = request
        self.shards = defaultdict[str, list[Shard]](list)
        if not path.exists():
            return
        state = parse_json(path.read_text(encoding="utf-8"))
        found = {
            split: [Shard(**shard) for shard in shards] for split, shards in state["shards"].items()
        }
        there = all(_is_there(path.parent, shard) for done in found.values() for shard in done)
        if state["request"] == request and there:
            self.shards.update(found)

    def add(self, split: str, shard: Shard) -> None:
        """Records a finished shard."""
        self.shards[split].append(shard)
        state = {"request": self._request, "shards": plain(self.shards)}
        write_whole(self._path, json.dumps(state))


def _is_there(directory: Path, shard: Shard) -> bool:
    path = directory / shard.file
    return path.is_file() and path.stat().st_size == shard.size


def write_shards(
    records: Iterator[tuple[int, bytes]], prefix: Path, split: str, size: int, done: FinishedShards
) -> None:
    """Writes the records that follow a split's finished shards, and adds the new shards to them.

    Each record comes with the number of the split's rows up to it. A shard ends after ``size``
    bytes of records. Raises OSError if the storage fails.
    """
    for number in itertools.count(len(done.shards[split])):
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
    # A finished shard must survive a crash of the machine.
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return Shard(path.name, rows, examples, record_bytes, path.stat().st_size, sha256(path))


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"{path}: cannot be written: {error}") from error


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
