"""How fast rows are prepared, against what a run consumes, and how much memory that takes.

``demo``: the demo's rows, by threads of this process. A step of the demo draws up to 32 groups and
lasts about 3.7 s on two cores: the ratio is that of the rows that are prepared in a second to 8.6.
``7b``: 128 rows of three photographs of 512 pixels (JPEG, 0.1 MB each) as
configs/qwen2_5_vl_7b_perl.py prepares them, by worker processes, out of a parquet file that is
larger than what a worker keeps. The other side decodes and resizes the same pictures by Pillow, one
after the other, and does nothing else.
``memory``: rows of three small images, by worker processes: by how much all processes together grow
after the first tenth. The ratio is that of the memory before to the memory after.
"""

import dataclasses
import importlib.util
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.harness import Case, Options, ratio
from perl_jax.config import TrainConfig
from perl_jax.data import ParquetSource, Pipeline, PipelineConfig, Preparer
from perl_jax.data.config import open_source
from perl_jax.processing import load_processor
from perl_jax.settings import read_config

# Rows that a step of the demo draws in a second.
NEEDED = 32 / 3.7
ROWS, WORKERS, SIDE = 128, 2, 512

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


def megabytes(processes: Sequence[int]) -> float:
    status = [Path(f"/proc/{process}/status").read_text() for process in processes]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status) / 1024


def timed(rows: Pipeline, count: int) -> float:
    """Seconds that rows take once all processes have started."""
    # What was read ahead while everything started is not to be counted.
    for _ in itertools.islice(rows, 24):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(rows, count):
        pass
    return time.perf_counter() - start


def run(options: Options) -> Iterator[Case]:
    """Three cases."""
    seconds = [demo(256) for _ in range(options.turns(3))]
    rate = 256 / statistics.median(seconds)
    yield Case("demo", {"prepared / consumed": rate / NEEDED}, {"perl_jax": seconds})
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_rows(directory / "7b.parquet", 3 * ROWS, SIDE)
        times: dict[str, list[float]] = {"pillow": [], "perl_jax": []}
        for _ in range(options.turns(3)):
            times["pillow"].append(by_pillow(directory))
            times["perl_jax"].append(recipe(directory))
        yield Case("7b", {"time": ratio(times["pillow"], times["perl_jax"])}, times)
        yield memory(directory, 2000)


def demo(count: int) -> float:
    config = get_config("demo")
    prepare = Preparer(
        load_processor(config.model.path), max_prompt_tokens=config.data.max_prompt_tokens
    )
    source = open_source(config.data.train)
    with Pipeline(source, prepare, config.data.pipeline, seed=0) as rows:
        return timed(rows, count)


def by_pillow(directory: Path) -> float:
    """Seconds to decode and resize the pictures of as many rows."""
    start = time.perf_counter()
    for row in pq.read_table(directory / "7b.parquet")["images"].slice(0, ROWS).to_pylist():
        for encoded in row:
            image = Image.open(io.BytesIO(encoded)).convert("RGB")
            np.asarray(image.resize((504, 504), Image.Resampling.BICUBIC))
    return time.perf_counter() - start


def recipe(directory: Path) -> float:
    config = get_config("qwen2_5_vl_7b_perl")
    source = ParquetSource(directory / "7b.parquet")
    processor = load_processor(TINY, min_pixels=3136, max_pixels=config.model.max_pixels)
    prepare = Preparer(processor, max_prompt_tokens=config.data.max_prompt_tokens)
    settings = dataclasses.replace(config.data.pipeline, workers=WORKERS)
    with Pipeline(source, prepare, settings, seed=0) as rows:
        return timed(rows, ROWS)


def memory(directory: Path, count: int) -> Case:
    source = ParquetSource(write_rows(directory / "memory.parquet", 500, 56))
    prepare = Preparer(load_processor(TINY), max_prompt_tokens=8192)
    with Pipeline(source, prepare, PipelineConfig(workers=WORKERS), seed=0) as rows:
        processes = (os.getpid(), *rows.process_ids)
        for _ in itertools.islice(rows, count // 10):
            pass
        first = most = megabytes(processes)
        for number, _ in enumerate(itertools.islice(rows, count - count // 10)):
            if number % 100 == 0:
                most = max(most, megabytes(processes))
    facts = {"rows": count, "megabytes": round(first), "growth": round(most - first)}
    return Case("memory", {"before / after": first / most}, facts=facts)
