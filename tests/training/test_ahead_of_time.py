"""What an update takes on TPUs, compiled for them without one."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def update():
    """The 7B update on sixteen v5e chips, float32 parameters and gradients, one order a chip."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed; it compiles for TPUs (pip install libtpu runs it)")
    return compile_in_a_process_of_its_own("v5e:4x4", "7B", "float32", "1", "16", "1")


def compile_in_a_process_of_its_own(*arguments):
    """The compiler for TPUs locks its library: one process at a time, and never twice in one."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"}
    environment.pop("XLA_FLAGS", None)
    for attempt in range(8):
        run = subprocess.run(
            [sys.executable, "-m", "tests.training.update_on_topology", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if run.returncode == 0:
            return json.loads(run.stdout.splitlines()[-1])
        if "lockfile" not in run.stderr and "ABORTED" not in run.stderr:
            break
        time.sleep(10 * (attempt + 1))
    pytest.fail(run.stderr)


def test_the_7b_update_on_sixteen_chips_takes_three_gibibytes_beside_its_arguments(update):
    assert update["temporary"] <= 3 * 2**30


def test_gradients_are_added_up_in_place_and_lie_as_the_parameters_do(update):
    assert update["gradients"] > 2 * 10**9
    assert update["aliased"] >= update["gradients"]
    assert update["moved"] == []


def test_no_collective_moves_more_than_one_matrix_of_one_layer(update):
    """Weights travel, a matrix at a time and in bfloat16; no whole batch of activations does."""
    assert update["collectives"]["all-gather"][0] > 0
    matrix = 2 * 18944 * 3584
    for kind, (_, largest) in update["collectives"].items():
        assert largest <= matrix, kind
