"""Whole runs whose rows lie on ``s3://``, and whose checkpoints lie there or on ``gs://``."""

import os
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from tests.bucket import NAME, running_bucket
from tests.configurations import Places, shrunk
from tests.s3_bucket import NAME as S3_NAME
from tests.s3_bucket import running_s3_bucket
from tests.training.checkpoint.checkpoint_states import assert_same
from tests.training.resuming import Run, arrays_and_host, environment, first_step

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.story


def test_rows_are_read_from_s3_and_the_policy_goes_to_a_bucket_of_google(tmp_path, monkeypatch):
    places = Places.make(tmp_path / "places")
    rows = f"s3://{S3_NAME}/rows/train-*.parquet"
    flags = [
        "--config=configs/qwen2_5_vl_3b_gpu.py", *shrunk("qwen2_5_vl_3b_gpu", places),
        "--config.data.held_out=None",
        f"--config.data.train.parquet.paths=('{rows}',)",
        f"--config.checkpoint.directory=gs://{NAME}/run/checkpoints", "--config.export=false",
    ]  # fmt: skip
    with running_bucket() as google, running_s3_bucket() as amazon:
        for name, value in (google | amazon).items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").put_file(str(places.rows), f"{S3_NAME}/rows/train-0.parquet")
        workdir = f"--workdir={tmp_path}/run"
        _perl_jax("train", *flags, workdir)
        files = fsspec.filesystem("gs")
        assert files.isdir(f"{NAME}/run/checkpoints/1")
        # The lease was given back, and the probe of the start removed.
        assert not [path for path in files.find(f"{NAME}/run") if "/." in path]
        said = _perl_jax("export", workdir, f"--out=gs://{NAME}/exported")
        assert said == f"step 1 is in gs://{NAME}/exported\n"
        names = {path.rpartition("/")[2] for path in files.find(f"{NAME}/exported")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not (ROOT / "gs:").exists()
    assert not (ROOT / "s3:").exists()


def test_a_run_killed_with_all_on_s3_goes_on_with_the_same_bits_on_another_machine(
    tmp_path, monkeypatch
):
    places = Places.make(tmp_path / "places")
    flags = [
        "--config=configs/qwen2_5_vl_3b_gpu.py", *shrunk("qwen2_5_vl_3b_gpu", places),
        "--config.data.held_out=None",
        f"--config.data.train.parquet.paths=('s3://{S3_NAME}/rows/train-0.parquet',)",
        "--config.steps=3", "--config.checkpoint.every=1", "--config.export=false",
    ]  # fmt: skip
    with running_s3_bucket() as amazon:
        for name, value in amazon.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        files.put_file(str(places.rows), f"{S3_NAME}/rows/train-0.parquet")
        variables = environment(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))
        reference = Run(tmp_path / "reference", variables, *flags)
        reference.finish()
        flags.append(f"--config.checkpoint.directory=s3://{S3_NAME}/run/checkpoints")
        killed = Run(tmp_path / "killed", variables, *flags, told=tmp_path / "told")
        killed.until(lambda: killed.has_reached(3, "rollout"))
        killed.kill()
        other = Run(tmp_path / "other", variables, *flags, told=tmp_path / "told")
        other.finish()
        assert first_step(tmp_path / "told") > 1
        copy = str(other.workdir / "checkpoints")
        files.get(f"{S3_NAME}/run/checkpoints", copy, recursive=True)
    (arrays, host), (others, other_host) = map(arrays_and_host, (reference.workdir, other.workdir))
    assert (host["step"], host["stepper"]) == (3, other_host["stepper"])
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert_same(others[name], array)


def _perl_jax(*arguments):
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    done = subprocess.run(
        [sys.executable, "-m", "perl_jax", *arguments],
        cwd=ROOT, env=environment(cache), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
