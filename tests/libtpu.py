"""Programs compiled for TPUs, in processes of their own.

The compiler for TPUs locks its library: one process of a machine at a time, and never twice in one.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed; it compiles for TPUs (pip install libtpu runs it)",
)


@contextlib.contextmanager
def only_user():
    """Waits until no other test compiles for TPUs."""
    with (Path(tempfile.gettempdir()) / "perl_jax_tests_libtpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compiled(module, *arguments):
    """What a module of tests prints last, as JSON, run as a program."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    environment.pop("XLA_FLAGS", None)
    with only_user():
        for attempt in range(5):
            run = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            if run.returncode == 0:
                return json.loads(run.stdout.splitlines()[-1])
            if "lockfile" not in run.stderr and "ABORTED" not in run.stderr:
                break
            # Something else than a test has it.
            time.sleep(10 * (attempt + 1))
    pytest.fail(run.stderr)
