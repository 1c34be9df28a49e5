"""Data: sources of examples, and the pipeline that shuffles, shards and prepares them."""

from perl_jax.data.pipeline.mixture import Mixture, Part
from perl_jax.data.pipeline.pipeline import Pipeline, PipelineConfig, Taken
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.row_filter import FilteredRow, RowFilter
from perl_jax.data.sources.columns import ColumnsConfig
from perl_jax.data.sources.dataset_directory import DatasetDirectorySource
from perl_jax.data.sources.jsonl import JsonlSource
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.data.sources.source import BadRow, Source

__all__ = [
    "BadRow",
    "ColumnsConfig",
    "DatasetDirectorySource",
    "FilteredRow",
    "JsonlSource",
    "Mixture",
    "ParquetSource",
    "Part",
    "Pipeline",
    "PipelineConfig",
    "Preparer",
    "RowFilter",
    "Source",
    "Taken",
]
