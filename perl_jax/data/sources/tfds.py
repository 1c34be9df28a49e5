"""Rows of a TFDS data set as `perl_jax.data.build` writes it."""

import bisect
import hashlib
import itertools
import json
import operator
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from perl_jax.data.sources.tfds_records import DECODERS, FEATURES, FEATURES_FILE, from_fields
from perl_jax.legible import field_name, name_list
from perl_jax.storage import sample
from perl_jax.types import PROMPT_SUFFIX, Example


class TfdsSource:
    """One split of a data set in ArrayRecord files, as a source.

    Images are the bytes that were written. Each worker process opens the files itself.

    The arguments are the fields of `TfdsConfig`.

    Raises:
        FileNotFoundError: The directory holds no data set.
        ValueError: The data set is not ours or lacks the split, or a file is missing, cut off or
            has another number of records than noted; names the file.
    """

    def __init__(
        self, directory: str | Path, *, split: str = "train", prompt_suffix: str = ""
    ) -> None:
        self._directory = Path(directory).absolute()
        self._split = split
        self._suffix = {PROMPT_SUFFIX: prompt_suffix} if prompt_suffix else {}
        self._lock = threading.Lock()
        self._opened: Any = None
        facts = self._read_facts()
        self._shards = list(map(Path, facts.filepaths))
        self._starts = list(itertools.accumulate(facts.shard_lengths, initial=0))
        self._fingerprint = self._check_shards(facts.shard_lengths)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """The row of that number; raises IndexError, or OSError that names a damaged file."""
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index}: the rows are 0 to {len(self) - 1}")
        try:
            example = from_fields(self._rows()[index])
        except (RuntimeError, ValueError) as error:
            shard = self._shards[bisect.bisect_right(self._starts, index) - 1]
            raise OSError(f"{shard}: the record of row {index} cannot be read: {error}") from error
        place = f"{self._directory.parent.name}/{self._split}:{index}"
        return replace(example, metadata={**example.metadata, **self._suffix}, place=place)

    def fingerprint(self) -> str:
        """A digest of the metadata, and of all shards' names, sizes and sampled bytes."""
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None, "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _rows(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._check_features()
                builder = tfds.builder_from_directory(self._directory)
                self._opened = builder.as_data_source(self._split, decoders=DECODERS)
            return self._opened

    def _read_facts(self) -> Any:
        """TFDS's information on the split."""
        for name in ("dataset_info.json", "features.json"):
            if not (self._directory / name).is_file():
                raise FileNotFoundError(
                    f"{self._directory / name}: no such file; expected the directory of a version, "
                    "such as data/mantis_nlvr2/1.0.0, that perl_jax.data.build has finished"
                )
        self._check_features()
        try:
            splits = tfds.builder_from_directory(self._directory).info.splits
        except Exception as error:  # whatever TFDS makes of broken metadata
            raise ValueError(
                f"{self._directory}: expected the metadata of TFDS: {field_name(error)}"
            ) from error
        if self._split not in splits:
            raise ValueError(
                f"{self._directory}: no split {self._split!r}; it has {name_list(splits)}"
            )
        return splits[self._split]

    def _check_features(self) -> None:
        """Raises ValueError unless the features are those that we write.

        TFDS imports the module of every class that the file names, so it must not see others.
        """
        path = self._directory / "features.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: expected the metadata of TFDS: {error}") from error
        if stored != FEATURES_FILE:
            raise ValueError(
                f"{path}: expected the features {', '.join(FEATURES)}, as perl_jax.data.build "
                "writes them; got others, which are not read, as TFDS imports what they name"
            )

    def _check_shards(self, lengths: Sequence[int]) -> str:
        """Checks every shard and returns the fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update((self._directory / "dataset_info.json").read_bytes())
        digest.update(repr((self._split, self._suffix)).encode())
        for path, records in zip(self._shards, lengths, strict=True):
            if not path.is_file():
                raise ValueError(f"{path}: no such file, but dataset_info.json names it")
            try:
                reader = ArrayRecordReader(str(path))
                found = reader.num_records() if reader.ok() else None
                reader.close()
            except RuntimeError as error:
                raise ValueError(f"{path}: expected a whole ArrayRecord file: {error}") from error
            if found != records:
                raise ValueError(f"{path}: expected {records} records; got {found}")
            digest.update(path.name.encode())
            digest.update(sample(str(path)))
        return digest.hexdigest()
