"""launch/local_gpu.sh with a stand-in for nvidia-smi that lists four GPUs."""

import signal

import pytest

from tests.launch.conftest import FAKES


@pytest.fixture
def launched(machine):
    def start(*arguments, **environment):
        return machine.start(
            "local_gpu.sh",
            "--config=configs/demo.py",
            f"--workdir={machine.directory / 'run'}",
            f"--python={FAKES / 'host_python'}",
            *arguments,
            **environment,
        )

    return start


def test_the_program_runs_on_all_gpus_with_most_of_their_memory(machine, launched):
    ended = machine.end(launched("--config.mesh.fsdp=4"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("NVIDIA H100 80GB HBM3") == 4
    assert machine.read("environment") == "XLA_PYTHON_CLIENT_MEM_FRACTION=0.92\n"
    assert "--distributed=off --config.mesh.fsdp=4" in machine.read("starts")


def test_a_choice_of_gpus_is_numbered_as_nvidia_smi_numbers_them(machine, launched):
    ended = machine.end(launched("--gpus=1,3", "--memory=0.5"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("NVIDIA H100 80GB HBM3") == 2
    assert machine.read("environment").splitlines() == [
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES=1,3",
        "XLA_PYTHON_CLIENT_MEM_FRACTION=0.5",
    ]


def test_gpus_that_are_not_there_are_refused(machine, launched):
    ended = machine.end(launched("--gpus=1,7"))
    assert ended.returncode == 2
    assert "--gpus: expected some of 0,1,2,3; got '1,7'" in ended.stderr
    assert machine.read("starts") == ""


def test_a_driver_that_is_too_old_is_refused(machine, launched):
    ended = machine.end(launched(FAKE_DRIVER="535.183.01"))
    assert ended.returncode == 1
    assert "the NVIDIA driver: expected 580 or later, as JAX for CUDA 13 needs; got 535" in (
        ended.stderr
    )


def test_the_status_of_a_program_that_fails_is_passed_on(machine, launched):
    machine.plan("fail 4")
    assert machine.end(launched()).returncode == 4


def test_a_signal_reaches_the_program(machine, launched):
    machine.plan("wait")
    process = launched()
    machine.wait_for("starts", "0 from step")
    process.send_signal(signal.SIGTERM)
    ended = machine.end(process)
    assert ended.returncode == 0
    assert "host 0 saved and stopped" in ended.stdout
