"""Programs compiled for TPUs, in processes of their own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed; it compiles for TPUs (pip install 'jax[tpu]' runs it)",
)


def compiled(module, *arguments):
    """What a module of tests prints last, as JSON, run as a program."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    environment.pop("XLA_FLAGS", None)
    run = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode:
        pytest.fail(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])
