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
from tests.compiling import QUICKLY
from tests.training.checkpoint.checkpoint_states import mesh

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared") / "checkpoints"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {QUICKLY}",
    }
    command = [sys.executable, "-m", "tests.training.checkpoint.two_hosts_program", str(port)]
    processes = [
        subprocess.Popen(
            [*command, str(index), str(directory)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (told, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
        assert told.splitlines()[-1] == "done"
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


def test_one_process_with_eight_devices_reads_what_two_with_two_each_saved(directory):
    restored = restore(directory, 2)
    expected = np.random.default_rng(2).normal(size=(8, 400)).astype(np.float32)
    np.testing.assert_array_equal(restored.arrays["w"], expected)
    np.testing.assert_array_equal(restored.arrays["all"], expected)
    assert restored.arrays["key"] == jax.random.key(2)
    assert restored.host == {"shared": 2}


def test_states_of_two_hosts_do_not_go_on_in_one(directory):
    with pytest.raises(FingerprintError, match="saved by 2 hosts, each with a state of its own"):
        restore(directory, 3)
