r"""How fast rows are prepared, and how much memory that takes.

    python benchmarks/data_pipeline.py [--workers 2] [--memory-rows 10000]

Prints a table and a JSON line. Three cases:

demo     The demo's rows, by threads of this process. A step of the demo draws 16 groups and lasts
         about 3 s.
7b       128 rows of three 512 x 512 JPEG photographs (gradients with noise, 0.1 MB each) as
         configs/qwen2_5_vl_7b_perl.py prepares them, by worker processes, out of a parquet file
         that is larger than what a worker keeps. Should take less than 10 s on 2 cores.
memory   Rows of three small images, by worker processes, for as many rows as asked: by how much
         all processes together grow after the first tenth.

Measured on 2 cores of a shared x86 server (Python 3.11):

    demo     512 rows      3.4 s     150 rows a second; 5.3 are needed
    7b       128 rows      6.7 s     11.8 s while other work took most of one core
    memory   10,000 rows             1 MB more than the 906 MB after a tenth of them

Of the 7b case an image of 512 x 512 takes 5 ms to decode, 16 ms to resize and cut (11 of them in
Pillow), and 12 ms from process to process; that was 35 ms while its arrays were pickled in place.
"""

import argparse
import dataclasses
import importlib.util
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from perl_jax.config import TrainConfig
from perl_jax.data import ParquetSource, Pipeline, PipelineConfig, Preparer
from perl_jax.data.config import open_source
from perl_jax.processing import load_processor
from perl_jax.settings import read_config

CONFIGS = Path(__file__).parent.parent / "configs"
TINY = Path(__file__).parent.parent / "perl_jax" / "assets" / "tiny_policy"


def get_config(name: str) -> TrainConfig:
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return read_config(TrainConfig, module.get_config())


def photograph(seed: int, side: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_rows(path: Path, rows: int, side: int) -> Path:
    photographs = [photograph(seed, side) for seed in range(30)]
    table = {
        "problem": ["<image><image><image> Which of them shows the largest digit?"] * rows,
        "answer": ["B"] * rows,
        "images": [[photographs[(3 * n + k) % 30] for k in range(3)] for n in range(rows)],
    }
    pq.write_table(pa.table(table), path, row_group_size=16)
    return path


def seconds_of_processor(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(processes: Sequence[int]) -> float:
    status = [Path(f"/proc/{process}/status").read_text() for process in processes]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status) / 1024


def timed(rows: Pipeline, count: int) -> dict[str, float]:
    """The time that rows take once all processes have started."""
    processes = (os.getpid(), *rows.process_ids)
    # What was read ahead while everything started is not to be counted.
    for _ in itertools.islice(rows, 24):
        pass
    before = sum(map(seconds_of_processor, processes))
    start = time.perf_counter()
    for _ in itertools.islice(rows, count):
        pass
    seconds = time.perf_counter() - start
    used = sum(map(seconds_of_processor, processes)) - before
    return {"rows": count, "seconds": round(seconds, 2), "processor_seconds": round(used, 2)}


def demo(count: int) -> dict[str, float]:
    config = get_config("demo")
    prepare = Preparer(
        load_processor(config.model.path), max_prompt_tokens=config.data.max_prompt_tokens
    )
    source = open_source(config.data.train)
    with Pipeline(source, prepare, config.data.pipeline, seed=0) as rows:
        return timed(rows, count)


def recipe(directory: Path, workers: int) -> dict[str, float]:
    config = get_config("qwen2_5_vl_7b_perl")
    source = ParquetSource(write_rows(directory / "7b.parquet", 384, 512))
    processor = load_processor(TINY, min_pixels=3136, max_pixels=config.model.max_pixels)
    prepare = Preparer(processor, max_prompt_tokens=config.data.max_prompt_tokens)
    settings = dataclasses.replace(config.data.pipeline, workers=workers)
    with Pipeline(source, prepare, settings, seed=0) as rows:
        return timed(rows, config.rollout.groups)


def memory(directory: Path, workers: int, count: int) -> dict[str, float]:
    source = ParquetSource(write_rows(directory / "memory.parquet", 500, 56))
    prepare = Preparer(load_processor(TINY), max_prompt_tokens=8192)
    with Pipeline(source, prepare, PipelineConfig(workers=workers), seed=0) as rows:
        processes = (os.getpid(), *rows.process_ids)
        for _ in itertools.islice(rows, count // 10):
            pass
        first = most = megabytes(processes)
        for number, _ in enumerate(itertools.islice(rows, count - count // 10)):
            if number % 100 == 0:
                most = max(most, megabytes(processes))
    return {"rows": count, "megabytes": round(first), "growth": round(most - first)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-rows", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        results = {
            "demo": demo(512),
            "7b": recipe(Path(name), options.workers),
            "memory": memory(Path(name), options.workers, options.memory_rows),
        }
    print(f"{options.workers} workers, {os.cpu_count()} processors")
    for case, numbers in results.items():
        line = "  ".join(f"{field} {value}" for field, value in numbers.items())
        print(f"{case:8} {line}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
