"""Which source a configuration asks for."""

from dataclasses import dataclass, fields

from perl_jax.data.digits import Digits, DigitsConfig
from perl_jax.data.parquet import ParquetSource
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
class TfdsConfig:
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
class SourceConfig:
    """One of these.

    Attributes:
        digits: The built-in demo.
        parquet: Parquet files.
        tfds: A data set that `perl_jax.data.build` built.
    """

    digits: DigitsConfig | None = None
    parquet: ParquetConfig | None = None
    tfds: TfdsConfig | None = None

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
    if config.tfds is not None:
        from perl_jax.data.tfds_source import TfdsSource  # TFDS takes seconds to import

        return TfdsSource(
            config.tfds.directory,
            split=config.tfds.split,
            prompt_suffix=config.tfds.prompt_suffix,
        )
    assert config.parquet is not None
    return ParquetSource(
        config.parquet.paths,
        image_root=config.parquet.image_root,
        prompt_suffix=config.parquet.prompt_suffix,
    )
