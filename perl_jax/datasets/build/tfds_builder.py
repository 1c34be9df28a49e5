"""Writes a published data set as ArrayRecord files that TFDS reads.

``tfds.builder_from_directory(...).as_data_source()`` and ``tfds.builder(name, data_dir=...)`` read
the directory. TFDS writes the records and its JSON files, without TensorFlow. TFDS's builder class
is not used: it starts again after an interruption, holds a split on the disk twice, and orders rows
by a hash. Here rows keep their published order, and the same input gives the same bytes.

A build writes to ``VERSION.incomplete``, which is renamed at the very end. The same command resumes
a stopped build: rows of finished shards are read again and counted, but not written. With other
arguments or changed files, it starts again.

The directory also gets ``README.md``, the data set card; ``build.json``, the same facts for
programs; and ``dropped.jsonl``, a line for every dropped row.
"""

import json
import logging
import os
import shutil
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

import tensorflow_datasets as tfds
from tqdm import tqdm

from perl_jax.data.sources.source import BadRow
from perl_jax.data.sources.tfds_records import FEATURES, to_record
from perl_jax.datasets import DataSet
from perl_jax.datasets.build.built import Built, Tally
from perl_jax.datasets.build.record_shards import FinishedShards, sha256, write_shards
from perl_jax.files import lock, parse_json, write_whole
from perl_jax.legible import brief
from perl_jax.settings import Checked, Count, Expects, Fraction
from perl_jax.types import Example

VERSION = "1.0.0"
"""The version of the record layout; TFDS uses it as the name of the directory."""

_log = logging.getLogger(__name__)
_PROGRESS, _CARD, _FACTS, _DROPPED = "progress.json", "README.md", "build.json", "dropped.jsonl"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"


@dataclass(frozen=True)
class BuildOptions(Checked):
    """How a data set is built.

    Attributes:
        limit: The most rows to read of each split; None: all.
        splits: The splits to build; None: all.
        max_bad_fraction: The largest share of a split's rows that may be dropped.
        shard_bytes: The approximate size of a shard's records.
    """

    limit: Annotated[Count, Expects("a positive number of rows")] | None = None
    splits: tuple[str, ...] | None = None
    max_bad_fraction: Fraction = 0.01
    shard_bytes: Count = 2**28
    show_progress: bool = True


def build(
    data_set: DataSet, source: Path, data_dir: Path, options: BuildOptions | None = None
) -> Built:
    """Builds a data set in ``data_dir/NAME/VERSION``, or returns the build that is there.

    Args:
        data_set: The data set to build.
        source: The directory with its published files.
        data_dir: The directory of built data sets.
        options: None: the defaults.

    Raises:
        ValueError: Too many rows are bad, a split has none, a published file is broken, two rows
            have one id, or the directory holds a build of other files or options.
        FileNotFoundError: A published file is missing.
        LockError: Another process is building here.
        OSError: The storage fails.
    """
    options = options or BuildOptions()
    splits = _splits(data_set, options)
    files = _published_files(data_set, source)
    final = data_dir / data_set.name / VERSION
    asked = ([file[:2] for file in files], splits, options.limit)
    if final.exists():
        return _existing(final, source, asked)
    work = final.with_name(f"{VERSION}.incomplete")
    request = {
        "name": data_set.name, "splits": splits, "limit": options.limit,
        "shard_bytes": options.shard_bytes,
        "files": [[name, size, path.stat().st_mtime_ns] for name, size, path in files],
    }  # fmt: skip
    with lock(final.parent, "data set"):
        if final.exists():  # meanwhile
            return _existing(final, source, asked)
        progress = FinishedShards(work / _PROGRESS, request)
        if not any(progress.shards.values()):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        job = _Job(data_set, source, work, progress, options)
        tallies = _write_splits(job, splits)
        built = _finish(job, final, files, tallies)
        (work / _PROGRESS).unlink()
        os.rename(work, final)
    return built


class _Job(NamedTuple):
    data_set: DataSet
    source: Path
    work: Path
    progress: FinishedShards
    options: BuildOptions


def _splits(data_set: DataSet, options: BuildOptions) -> list[str]:
    known = list(data_set.splits)
    wanted = list(options.splits or known)
    if unknown := [split for split in wanted if split not in known]:
        raise ValueError(f"{data_set.name}: no split {unknown[0]!r}; it has {', '.join(known)}")
    return wanted


def _published_files(data_set: DataSet, source: Path) -> list[tuple[str, int, Path]]:
    """The relative name, size and path of each published file."""
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: expected the directory of the published files")
    found = {path for pattern in data_set.files for path in source.glob(pattern) if path.is_file()}
    if not found:
        raise FileNotFoundError(f"{source}: expected some of {', '.join(data_set.files)}")
    return [(str(path.relative_to(source)), path.stat().st_size, path) for path in sorted(found)]


def _existing(final: Path, source: Path, asked: tuple[Any, ...]) -> Built:
    """A finished build; ValueError if it is of other files, splits or another limit."""
    try:
        built = Built.read(str(final), parse_json((final / _FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{final}: exists, but is no build of this program: {error}") from error
    if ([file[:2] for file in built.files], list(built.tallies), built.limit) != asked:
        other = f"other files than those of {source}, or with other splits or another limit"
        raise ValueError(f"{final}: is built from {other}; remove it to build it again")
    _log.info("%s is already built", final)
    return built


def _write_splits(job: _Job, splits: list[str]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    ids: set[str] = set()
    with open(job.work / _DROPPED, "w", encoding="utf-8") as log:
        for split in splits:
            tally = tallies[split] = Tally()
            reader = job.data_set.splits[split](job.source)
            rows = map(_checked, islice(reader, job.options.limit))
            records = _records(job, split, rows, ids, tally, log)
            prefix = job.work / job.data_set.name
            write_shards(records, prefix, split, job.options.shard_bytes, job.progress)
            if isinstance(reader, Generator):
                reader.close()  # it may stand at the limit, with its files open
            log.flush()
            _judge(job, split, tally)
    return tallies


def _checked(row: Example | BadRow) -> Example | BadRow:
    """The row, or a `BadRow` if a text of it cannot be stored."""
    if isinstance(row, Example):
        try:
            "".join((row.id, row.source, row.question, row.answer, *row.options)).encode()
        except UnicodeEncodeError as error:
            name = row.id.encode("utf-8", "backslashreplace").decode()
            return BadRow("bad_text", name, f"a text is not Unicode: {error}")
    return row


def _records(
    job: _Job,
    split: str,
    rows: Iterable[Example | BadRow],
    ids: set[str],
    tally: Tally,
    log: TextIO,
) -> Iterator[tuple[int, bytes]]:
    """The records after the finished shards, each after the number of rows so far; counts all."""
    shards = job.progress.shards[split]
    done = shards[-1].rows if shards else 0
    for row in tqdm(rows, desc=split, unit=" rows", disable=not job.options.show_progress):
        tally.add(row)
        if isinstance(row, BadRow):
            log.write(json.dumps({"split": split, **vars(row)}) + "\n")
            continue
        if row.id in ids:
            raise ValueError(f"{split}: expected an id of its own; {brief(row.id)} stands twice")
        ids.add(row.id)
        if tally.rows > done:
            yield tally.rows, to_record(row)


def _judge(job: _Job, split: str, tally: Tally) -> None:
    name, allowed = job.data_set.name, job.options.max_bad_fraction
    dropped = tally.dropped.total()
    if dropped > allowed * tally.rows:
        raise ValueError(
            f"{name}, {split}: {dropped} of {tally.rows} rows cannot be used, more than "
            f"max_bad_fraction = {allowed}; {job.work / _DROPPED} names all:\n{tally.reasons()}"
        )
    if not tally.kept:
        raise ValueError(f"{name}, {split}: expected rows; got none")


def _finish(
    job: _Job, final: Path, files: list[tuple[str, int, Path]], tallies: dict[str, Tally]
) -> Built:
    data_set, work = job.data_set, job.work
    bar = tqdm(files, desc="checksums", unit=" files", disable=not job.options.show_progress)
    digests = [(name, size, sha256(path)) for name, size, path in bar]
    shards = [shard for split in tallies for shard in job.progress.shards[split]]
    written = [(shard.file, shard.size, shard.sha256) for shard in shards]
    built = Built(str(final), job.options.limit, tallies, digests, written)
    tfds.folder_dataset.write_metadata(
        data_dir=work,
        features=FEATURES,
        split_infos=[_split_info(job, split) for split in tallies],
        version=VERSION,
        filename_template=_TEMPLATE,
        check_data=False,
        description=data_set.description,
        homepage=data_set.homepage,
        license=data_set.licence,
    )
    write_whole(work / _CARD, built.card(data_set))
    write_whole(work / _FACTS, json.dumps(built.plain(data_set), indent=1) + "\n")
    return built


def _split_info(job: _Job, split: str) -> Any:
    shards = job.progress.shards[split]
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[shard.examples for shard in shards],
        num_bytes=sum(shard.record_bytes for shard in shards),
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=job.work,
            dataset_name=job.data_set.name,
            split=split,
            filetype_suffix="array_record",
            template=_TEMPLATE,
        ),
    )
