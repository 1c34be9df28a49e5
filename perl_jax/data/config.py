"""The configuration of a source: the table of all kinds.

A new kind of source is a module of `perl_jax.data.sources` with its configuration, a `SourceKind`,
and a field of `SourceConfig`. It also needs a line in `perl_jax.inspection.naming.KINDS` and one in
``docs/data.md``; a test names what is missing.
"""

from dataclasses import dataclass, field, fields

from perl_jax.data.pipeline.mixture import Mixture, Part
from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.dataset_directory import DatasetDirectoryConfig
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.jsonl import JsonlConfig
from perl_jax.data.sources.parquet import ParquetConfig
from perl_jax.data.sources.source import Source, SourceKind
from perl_jax.data.sources.tfds_config import TfdsConfig
from perl_jax.settings import Checked, Positive


@dataclass(frozen=True)
class PartConfig(Checked):
    """A source of a mixture.

    Attributes:
        source: The rows; not itself a mixture.
        weight: The share of the rows, relative to the other parts.
        name: Unique; empty: the number in the mixture, from 1.
        filters: The rows that are wanted.
    """

    source: "SourceConfig"
    weight: Positive = 1.0
    name: str = ""
    filters: RowFilter = field(default_factory=RowFilter)

    def _check_together(self) -> None:
        if self.source.mixture is not None:
            raise ValueError("source: expected no mixture in a mixture; list its parts instead")


@dataclass(frozen=True)
class SourceConfig(Checked):
    """Exactly one kind of source.

    Attributes:
        digits: The built-in demo.
        parquet: Parquet files.
        jsonl: JSONL files.
        dataset_directory: A local Hugging Face data set.
        mixture: Sources that are filtered and mixed by weight; or one that is filtered.
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

    @property
    def chosen(self) -> SourceKind | tuple[PartConfig, ...]:
        """The kind that is given."""
        values = (getattr(self, field.name) for field in fields(self))
        return next(value for value in values if value is not None)


def open_source(config: SourceConfig) -> Source:
    """Opens a configuration's source; raises as `SourceKind.open` does."""
    chosen = config.chosen
    if not isinstance(chosen, tuple):
        return chosen.open()
    return Mixture(
        [
            Part(part.name or str(number), open_source(part.source), part.weight, part.filters)
            for number, part in enumerate(chosen, 1)
        ]
    )
