"""Which source a configuration asks for."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from annotated_types import Len

from perl_jax.data.pipeline.mixture import Mixture, Part
from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.columns import ColumnsConfig
from perl_jax.data.sources.dataset_directory import DatasetDirectorySource
from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.data.sources.jsonl import JsonlSource
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.data.sources.source import Source
from perl_jax.settings import Checked, Expects, Positive

_Paths = Annotated[tuple[str, ...], Len(1), Expects("at least one file")]


@dataclass(frozen=True, kw_only=True)
class RowsConfig(Checked):
    """What rows of any kind of file become.

    Attributes:
        columns: Which columns an example is made of; None: the layout of verl or of EasyR1.
        image_root: The directory that image paths are relative to, or its URL; None: rows hold the
            bytes.
        prompt_suffix: Put after every question.
        source: Every example's source, whatever its row says.
    """

    columns: ColumnsConfig | None = None
    image_root: str | None = None
    prompt_suffix: str = ""
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class ParquetConfig(RowsConfig):
    """Rows of parquet files.

    Attributes:
        paths: Files, or patterns such as ``data/train-*.parquet``, on a disk or in a bucket
            (``gs://``, ``s3://``).
    """

    paths: _Paths


@dataclass(frozen=True, kw_only=True)
class JsonlConfig(RowsConfig):
    """Rows of JSONL files, a JSON object on every line.

    Attributes:
        paths: Files, or patterns such as ``data/train-*.jsonl``, on a disk or in a bucket.
    """

    paths: _Paths


@dataclass(frozen=True, kw_only=True)
class DatasetDirectoryConfig(RowsConfig):
    """Rows of a directory that ``save_to_disk`` of the ``datasets`` library wrote.

    Attributes:
        path: The directory.
        split: Which one of a ``DatasetDict``; None for a directory without splits.
    """

    path: str
    split: str | None = None


@dataclass(frozen=True)
class PartConfig(Checked):
    """A source of a mixture.

    Attributes:
        source: The rows; no mixture.
        weight: Its share of the rows, relative to the other parts'.
        name: Unlike the others'; empty: its number in the mixture, from 1.
        filters: Which rows are wanted.
    """

    source: "SourceConfig"
    weight: Positive = 1.0
    name: str = ""
    filters: RowFilter = field(default_factory=RowFilter)

    def _check_together(self) -> None:
        if self.source.mixture is not None:
            raise ValueError("source: expected no mixture in a mixture; list its parts instead")


@dataclass(frozen=True)
class TfdsConfig(Checked):
    """A data set that `perl_jax.data.build` built.

    Attributes:
        directory: With its version, such as ``data/mantis_nlvr2/1.0.0``.
        split: Which split.
        prompt_suffix: What every prompt ends with, after the options.
    """

    directory: str
    split: str = "train"
    prompt_suffix: str = ""


@dataclass(frozen=True)
class SourceConfig(Checked):
    """One of these.

    Attributes:
        digits: The built-in demo.
        parquet: Parquet files.
        jsonl: JSONL files.
        dataset_directory: A Hugging Face data set on a disk.
        mixture: Several sources, mixed by weight and filtered; or one, filtered.
        tfds: A data set that `perl_jax.data.build` built.
    """

    digits: DigitsConfig | None = None
    parquet: ParquetConfig | None = None
    jsonl: JsonlConfig | None = None
    dataset_directory: DatasetDirectoryConfig | None = None
    mixture: tuple[PartConfig, ...] | None = None
    tfds: TfdsConfig | None = None

    def _check_together(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if len(given) != 1:
            names = ", ".join(field.name for field in fields(self))
            raise ValueError(f"source: expected exactly one of {names}; got {given or 'none'}")


def open_source(config: SourceConfig) -> Source:
    """Opens the source that a configuration asks for.

    Raises:
        ValueError: A file is not what it should be; names it.
        FileNotFoundError: A file is missing.
    """
    if config.digits is not None:
        return Digits(config.digits)
    if config.parquet is not None:
        return ParquetSource(config.parquet.paths, **_options(config.parquet))
    if config.jsonl is not None:
        return JsonlSource(config.jsonl.paths, **_options(config.jsonl))
    if config.mixture is not None:
        return _open_mixture(config.mixture)
    if config.tfds is not None:
        # Imported here: TFDS takes seconds.
        from perl_jax.data.sources.tfds import TfdsSource

        return TfdsSource(
            config.tfds.directory, split=config.tfds.split, prompt_suffix=config.tfds.prompt_suffix
        )
    assert config.dataset_directory is not None
    directory = config.dataset_directory
    return DatasetDirectorySource(directory.path, split=directory.split, **_options(directory))


def _options(config: RowsConfig) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(RowsConfig)}


def _open_mixture(parts: tuple[PartConfig, ...]) -> Mixture:
    return Mixture(
        [
            Part(part.name or str(number), open_source(part.source), part.weight, part.filters)
            for number, part in enumerate(parts, 1)
        ]
    )
