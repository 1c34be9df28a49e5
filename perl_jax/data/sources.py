"""Which source a configuration asks for."""

from dataclasses import dataclass, field, fields

from perl_jax.data.digits import Digits, DigitsConfig
from perl_jax.data.mixture import Mixture, Part
from perl_jax.data.parquet import ParquetSource
from perl_jax.data.row_filter import RowFilter
from perl_jax.data.source import Source


@dataclass(frozen=True)
class ParquetConfig:
    """Rows of parquet files in the layout of verl or EasyR1.

    Attributes:
        paths: Files, or patterns such as ``data/train-*.parquet``.
        image_root: The directory that image paths are relative to; None: rows hold the bytes.
        prompt_suffix: Put after every question.
    """

    paths: tuple[str, ...]
    image_root: str | None = None
    prompt_suffix: str = ""

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("paths: expected at least one file; got none")


@dataclass(frozen=True)
class PartConfig:
    """A source of a mixture.

    Attributes:
        source: The rows; no mixture.
        weight: Its share of the rows, relative to the other parts'.
        name: Unlike the others'; empty: its number in the mixture, from 1.
        filters: Which rows are wanted.
    """

    source: "SourceConfig"
    weight: float = 1.0
    name: str = ""
    filters: RowFilter = field(default_factory=RowFilter)

    def __post_init__(self) -> None:
        if self.source.mixture is not None:
            raise ValueError("source: expected no mixture in a mixture; list its parts instead")


@dataclass(frozen=True)
class SourceConfig:
    """One of these.

    Attributes:
        digits: The built-in demo.
        parquet: Parquet files.
        mixture: Several sources, mixed by weight and filtered; or one, filtered.
    """

    digits: DigitsConfig | None = None
    parquet: ParquetConfig | None = None
    mixture: tuple[PartConfig, ...] | None = None

    def __post_init__(self) -> None:
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
    if config.mixture is not None:
        return _open_mixture(config.mixture)
    assert config.parquet is not None
    return ParquetSource(
        config.parquet.paths,
        image_root=config.parquet.image_root,
        prompt_suffix=config.parquet.prompt_suffix,
    )


def _open_mixture(parts: tuple[PartConfig, ...]) -> Mixture:
    return Mixture(
        [
            Part(part.name or str(number), open_source(part.source), part.weight, part.filters)
            for number, part in enumerate(parts, 1)
        ]
    )
