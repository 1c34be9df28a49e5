"""Memory: however many rows are read, no more of it is held."""

import itertools
import os
from pathlib import Path

from perl_jax.data import ParquetSource, Pipeline, PipelineConfig, Preparer
from tests.data.sources.parquet_files import digit_png, verl_row, write_verl

ROWS, WARM = 600, 60


def megabytes(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_memory_stays_flat_over_many_rows_and_no_process_is_left(tmp_path, processor):
    """All rows together are 540 MB when prepared."""
    images = [{"bytes": digit_png(k, side=112), "path": None} for k in range(3)]
    rows = [verl_row(n, images, "<image><image><image> Which?") for n in range(40)]
    source = ParquetSource(write_verl(tmp_path / "a.parquet", rows, row_group_size=8))
    prepare = Preparer(processor, max_prompt_tokens=1000)
    with Pipeline(source, prepare, PipelineConfig(workers=2, prefetch=8), seed=0) as pipeline:
        processes = (os.getpid(), *pipeline.process_ids)
        row = next(itertools.islice(pipeline, WARM, None))
        assert ROWS * sum(image.patches.nbytes for image in row.images) > 500e6
        before = [megabytes(process) for process in processes]
        for _ in itertools.islice(pipeline, ROWS - WARM):
            pass
        grown = [
            megabytes(process) - start for process, start in zip(processes, before, strict=True)
        ]
    assert max(grown) < 60, f"reader and workers grew by {grown} MB"
    assert not any(Path(f"/proc/{process}").exists() for process in processes[1:])
