"""A whole run whose rows lie on ``s3://`` and whose checkpoints and exported policy on ``gs://``."""

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
from tests.training.resuming import environment

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.story


def test_rows_are_read_from_s3_and_the_policy_goes_to_a_bucket_of_google(tmp_path, monkeypatch):
    places = Places.make(tmp_path / "places")
    rows = f"s3://{S3_NAME}/rows/train-*.parquet"
    flags = [
        "--config=configs/qwen2_5_vl_3b_gpu.py", *shrunk("qwen2_5_vl_3b_gpu", places),
        f"--config.data.train.parquet.paths=('{rows}',)",
        f"--config.checkpoint.directory=gs://{NAME}/run/checkpoints", "--config.export=false",
    ]  # fmt: skip
    with running_bucket() as google, running_s3_bucket() as amazon:
        for name, value in (google | amazon).items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").put_file(str(places.rows), f"{S3_NAME}/rows/train-0.parquet")
        workdir = f"--workdir={tmp_path}/run"
        assert "can be written" in _perl_jax("check", *flags)
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


def _perl_jax(*arguments):
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    done = subprocess.run(
        [sys.executable, "-m", "perl_jax", *arguments],
        cwd=ROOT, env=environment(cache), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
