"""Two processes with two devices each save as one, and one process reads what they saved."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints, FingerprintError
from tests.training.checkpoint.checkpoint_states import mesh

pytestmark = pytest.mark.story

ROOT = Path(__file__).parents[3]


def ends(directory, scenario):
    """The exit status of each of two processes, and what it printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-m", "tests.training.checkpoint.two_hosts_program", str(port)]
    processes = [
        subprocess.Popen(
            [*command, str(index), str(directory), scenario],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return list(zip([process.returncode for process in processes], outputs, strict=True))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared") / "checkpoints"
    for status, said in ends(directory, "whole"):
        assert status == 0, said[-3000:]
        assert said.splitlines()[-1] == "done"
    return directory


def restore(directory, step):
    place = NamedSharding(mesh(2, 4), PartitionSpec("a", "b"))
    whole = NamedSharding(mesh(2, 4), PartitionSpec())
    abstract = {
        "w": jax.ShapeDtypeStruct((8, 400), np.float32, sharding=place),
        "all": jax.ShapeDtypeStruct((8, 400), np.float32, sharding=whole),
        "key": jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=whole),
        "none": jax.ShapeDtypeStruct((0, 4), np.float32, sharding=whole),
    }
    return Checkpoints(directory, CheckpointConfig(), fingerprint=None).restore(abstract, step)


@pytest.mark.reliability("F34")
def test_one_process_with_eight_devices_reads_what_two_with_two_each_saved(directory):
    restored = restore(directory, 2)
    expected = np.random.default_rng(2).normal(size=(8, 400)).astype(np.float32)
    np.testing.assert_array_equal(restored.arrays["w"], expected)
    np.testing.assert_array_equal(restored.arrays["all"], expected)
    assert restored.arrays["key"] == jax.random.key(2)
    assert restored.host == {"shared": 2}


@pytest.mark.reliability("F12")
def test_states_of_two_hosts_do_not_go_on_in_one(directory):
    with pytest.raises(FingerprintError, match="saved by 2 hosts, each with a state of its own"):
        restore(directory, 3)


@pytest.mark.reliability("F34")
def test_a_host_that_never_ends_to_restore_is_named_and_ends_both(directory):
    for status, said in ends(directory, "stuck"):
        assert status == 1, said[-3000:]
        assert "host 1 did not come within 5 s (hosts.deadline)" in said
        assert "done" not in said.splitlines()
