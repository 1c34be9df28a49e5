"""Data: sources of examples, and the pipeline that shuffles, shards and prepares them."""

from perl_jax.data.columns import ColumnsConfig
from perl_jax.data.dataset_directory import DatasetDirectorySource
from perl_jax.data.jsonl import JsonlSource
from perl_jax.data.mixture import Mixture, Part
from perl_jax.data.parquet import ParquetSource
from perl_jax.data.pipeline import Pipeline, PipelineConfig, Taken
from perl_jax.data.preparer import Preparer
from perl_jax.data.row_filter import FilteredRow, RowFilter
from perl_jax.data.source import BadRow, Source

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
