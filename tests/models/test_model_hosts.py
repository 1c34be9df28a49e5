"""Two processes with two devices each load a model as one, and save it as one."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from perl_jax.testing import write_tiny_checkpoint
from tests.compiling import QUICKLY

pytestmark = pytest.mark.story

ROOT = Path(__file__).parents[2]


def tensors_of(directory):
    return {
        name: tensor
        for file in directory.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared")
    return write_tiny_checkpoint(directory / "source"), directory / "saved"


@pytest.fixture(scope="module")
def told(directories):
    """What each of the two processes printed, as a dict."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {QUICKLY}",
    }
    command = [sys.executable, "-m", "tests.models.two_hosts_program", str(port)]
    processes = [
        subprocess.Popen(
            [*command, str(index), *map(str, directories)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (printed, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
        assert printed.splitlines()[-1] == "done"
    return [dict(re.findall(r"(?m)^(read|held) (\d+)$", printed)) for printed, _ in outputs]


def test_what_two_hosts_save_is_bit_for_bit_what_they_loaded(directories, told):
    before, after = map(tensors_of, directories)
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype
        np.testing.assert_array_equal(before[name].view(np.uint16), after[name].view(np.uint16))
    source, saved = ({f.name for f in d.iterdir() if "safetensors" not in f.name}
                     for d in directories)  # fmt: skip
    assert source == saved
    # The limit on a file's size splits them as on one host.
    assert len(list(directories[1].glob("*.safetensors"))) > 1


def test_a_host_reads_only_what_its_devices_hold(directories, told):
    whole = sum(tensor.nbytes for tensor in tensors_of(directories[0]).values())
    for host in told:
        # Half of the matrices, all of the norms and biases.
        assert whole / 2 <= int(host["read"]) < 0.55 * whole
        # A quarter of them in float32, where the files have two bytes a number.
        assert 2 * whole / 4 <= int(host["held"]) < 2 * 0.3 * whole
