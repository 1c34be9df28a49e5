"""launch/slurm_gpu.sh within a job of two nodes, with stand-ins for srun, scancel and scontrol."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.launch.conftest import FAKES, ROOT


@pytest.fixture
def job(machine):
    def start(*arguments, **environment):
        return machine.start(
            "slurm_gpu.sh",
            "--config=configs/demo.py",
            f"--workdir={machine.directory / 'run'}",
            f"--python={FAKES / 'host_python'}",
            *arguments,
            **{"SLURM_JOB_ID": "42", "SLURM_GPUS_ON_NODE": "4", **environment},
        )

    return start


def near_the_time_limit(machine, process):
    machine.wait_for("starts", "0 from step")
    machine.wait_for("starts", "1 from step")
    process.send_signal(signal.SIGUSR1)
    return machine.end(process)


def test_one_task_a_node_has_all_gpus(machine, job):
    ended = machine.end(job("--config.mesh.fsdp=8"))
    assert ended.returncode == 0, ended.stderr
    assert "finished" in ended.stderr
    (call,) = machine.calls("srun")
    assert "--kill-on-bad-exit=1 --ntasks-per-node=1" in call
    assert call.endswith("--distributed=on --config.mesh.fsdp=8")
    assert machine.read("environment").splitlines().count("JAX_LOCAL_DEVICE_IDS=0,1,2,3") == 2
    assert not machine.calls("scontrol")


def test_the_copy_that_sbatch_makes_of_the_script_finds_the_repository(machine):
    copy = machine.directory / "slurm_script"
    shutil.copy(ROOT / "launch" / "slurm_gpu.sh", copy)
    ended = machine.run(str(copy), "--dry-run", "--config=configs/demo.py", "--workdir=runs/x")
    assert ended.returncode == 0, ended.stderr
    assert "srun" in ended.stdout


def test_near_the_time_limit_the_program_saves_and_the_job_is_requeued(machine, job):
    machine.plan("wait")
    ended = near_the_time_limit(machine, job())
    assert ended.returncode == 0, ended.stderr
    assert "host 0 saved and stopped" in ended.stdout
    assert machine.calls("scancel") == ["scancel --signal=TERM 42"]
    assert machine.calls("scontrol") == ["scontrol requeue 42"]
    machine.plan("finish")
    assert machine.end(job(SLURM_RESTART_COUNT="1")).returncode == 0
    assert "0 from step 1:" in machine.read("starts")


def test_requeues_are_bounded(machine, job):
    machine.plan("wait")
    ended = near_the_time_limit(machine, job("--max-requeues=3", SLURM_RESTART_COUNT="3"))
    assert ended.returncode == 1
    assert "out of time after 3 requeues (--max-requeues)" in ended.stderr
    assert not machine.calls("scontrol")


def test_a_program_that_fails_is_not_requeued(machine, job):
    machine.plan("fail 5")
    ended = machine.end(job())
    assert ended.returncode == 5
    assert "failed with status 5; it is not tried again" in ended.stderr
    assert not machine.calls("scontrol")


def program(machine, text):
    """A flag for a Python that is this script."""
    file = machine.directory / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return f"--python={file}"


def test_the_status_is_that_of_the_task_that_failed_first(machine, job):
    (machine.directory / "run").mkdir()
    (machine.directory / "run" / ".failed").write_text("9\n")
    text = "[ $SLURM_PROCID = 1 ] && exit 3; while [ ! -s $0.told ]; do sleep 0.1; done; exit 143"
    process = job(program(machine, text))
    machine.wait_for("run/.failed", "3")
    (machine.directory / "program.told").write_text("now")
    ended = machine.end(process)
    assert ended.returncode == 3
    assert "failed with status 3; it is not tried again" in ended.stderr


def test_a_job_that_is_out_of_time_before_its_program_listens_is_requeued(machine, job):
    process = job(program(machine, "echo $SLURM_PROCID >>$0.ready; exec sleep 600"))
    machine.wait_until(lambda: len(machine.read("program.ready").split()) == 2)
    process.send_signal(signal.SIGUSR1)
    ended = machine.end(process)
    assert ended.returncode == 0, ended.stderr
    assert machine.calls("scontrol") == ["scontrol requeue 42"]


def test_a_job_that_its_user_cancels_is_not_requeued(machine, job):
    machine.plan("wait")
    process = job()
    machine.wait_for("starts", "0 from step")
    machine.wait_for("starts", "1 from step")
    machine.run_fake("scancel", "--signal=TERM", "42")
    ended = machine.end(process)
    assert ended.returncode == 0
    assert "stopped as asked" in ended.stderr
    assert not machine.calls("scontrol")


def test_several_tasks_a_node_are_refused(machine, job):
    ended = machine.end(job(SLURM_NTASKS_PER_NODE="8"))
    assert ended.returncode == 1
    assert (
        "--ntasks-per-node: expected 1, as a task has all GPUs of its node; got 8" in ended.stderr
    )


def test_outside_of_a_job_it_says_how_to_submit(machine):
    ended = machine.run("slurm_gpu.sh", "--config=configs/demo.py", "--workdir=runs/x")
    assert ended.returncode == 1
    assert "not in a Slurm job: submit it, as in sbatch" in ended.stderr


@pytest.mark.parametrize(("ids", "visible"), [("0,1,2,3", "0,1,2,3"), ("", "0")])
def test_jax_takes_one_gpu_of_a_task_unless_told_of_all(ids, visible):
    code = (
        "import jax; jax.distributed.initialize();"
        "print(jax.process_count(), jax.config.read('jax_cuda_visible_devices'))"
    )
    environment = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "JAX_PLATFORMS": "cpu",
        "JAX_LOCAL_DEVICE_IDS": ids,
    }
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stdout.split() == ["1", visible], ended.stderr
