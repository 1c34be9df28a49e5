"""launch/tpu_pod.sh against a stand-in for gcloud whose two hosts really run launch/worker.sh."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.launch.conftest import ROOT, Machine

CHECKED = ("--name=run1", "--zone=us-west4-a", "--type=v5litepod-16", "--bucket=gs://b",
         "--config=configs/demo.py", "--poll=0.1")  # fmt: skip


FLAGS = (*CHECKED, "--no-check")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A repository of the scripts and configurations alone: a host unpacks it in no time."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("launch", "configs"):
        shutil.copytree(ROOT / name, root / name)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture
def machine(machine: Machine, checkout: Path) -> Machine:
    machine.root = checkout
    return machine


def test_a_run_is_created_installed_and_finished(machine):
    ended = machine.run("tpu_pod.sh", *FLAGS, "--config.mesh.fsdp=16")
    assert ended.returncode == 0, ended.stderr
    assert len(machine.calls("create run1", "--accelerator-type=v5litepod-16")) == 1
    assert "host 0 trains" in ended.stdout
    assert "host 1 trains" in ended.stdout
    for host in (0, 1):
        assert f"{host} from step 0: -m perl_jax.train --config=configs/demo.py" in machine.read(
            "starts"
        )
    assert machine.read("starts").count("--config.mesh.fsdp=16") == 2
    assert machine.read("starts").count("--distributed=on") == 2
    assert machine.read("buckets/b/run1/workdir/summary.json") == '{"steps": 10}\n'
    assert not machine.calls("delete")
    assert "run1 is still there and costs" in ended.stderr


def test_the_tpu_is_deleted_at_the_end_if_asked(machine):
    assert machine.run("tpu_pod.sh", *FLAGS, "--delete").returncode == 0
    assert len(machine.calls("tpu-vm delete run1")) == 1
    assert machine.read("state") == ""


def test_a_preempted_tpu_is_created_again_and_the_run_goes_on(machine):
    machine.plan("preempted")
    ended = machine.run("tpu_pod.sh", *FLAGS)
    assert ended.returncode == 0, ended.stderr
    assert len(machine.calls("tpu-vm create")) == 2
    assert len(machine.calls("tpu-vm delete")) == 1
    assert "0 from step 5:" in machine.read("starts")
    # Both lives of the run, though the first host's disk is gone.
    kept = machine.read("buckets/b/run1/workdir/metrics.jsonl")
    assert kept.endswith("step 10\n")


def test_a_suspended_queued_resource_is_asked_for_again(machine):
    machine.plan("preempted")
    ended = machine.run("tpu_pod.sh", *FLAGS, "--queued-resource", "--spot")
    assert ended.returncode == 0, ended.stderr
    created = machine.calls("queued-resources create run1", "--node-id=run1", "--spot")
    assert len(created) == 2
    assert len(machine.calls("queued-resources delete run1", "--force")) == 1


def test_a_tpu_that_is_always_preempted_is_given_up(machine):
    machine.plan("preempted", "preempted", "preempted")
    ended = machine.run("tpu_pod.sh", *FLAGS, "--attempts=2")
    assert ended.returncode == 1
    assert "lost or the program stopped 2 times (--attempts)" in ended.stderr
    assert len(machine.calls("tpu-vm create")) == 2


def test_a_program_that_fails_is_not_tried_again(machine):
    machine.plan("fail 3")
    ended = machine.run("tpu_pod.sh", *FLAGS)
    assert ended.returncode == 3
    assert "the program failed with status 3" in ended.stderr
    assert machine.read("starts").count(" from step ") == 2  # one on each host
    assert not machine.calls("delete")


def test_the_log_of_the_host_that_failed_first_comes_first(machine):
    machine.plan("together 3")
    ended = machine.run("tpu_pod.sh", *FLAGS)
    assert ended.returncode == 3
    assert "the program failed with status 3" in ended.stderr
    hosts = [line for line in ended.stderr.splitlines() if "the end of its log" in line]
    assert hosts == [
        "launch/tpu_pod.sh: host 1 failed with status 3; the end of its log:",
        "launch/tpu_pod.sh: host 0 failed with status 1; the end of its log:",
    ]
    assert ended.stdout.splitlines()[-4:] == [
        "host 1 trains", "error: host 1: the cause",
        "host 0 trains", "error: ended with the others, since host 1 failed",
    ]  # fmt: skip


def test_capacity_is_waited_for(machine):
    (machine.directory / "troubles").write_text(
        'There is no more capacity in the zone "us-west4-a"\nRESOURCE_EXHAUSTED: later\n'
    )
    ended = machine.run("tpu_pod.sh", *FLAGS)
    assert ended.returncode == 0, ended.stderr
    assert "not yet: ERROR: (gcloud.compute.tpus) There is no more capacity" in ended.stderr
    assert len(machine.calls("tpu-vm create")) == 3


def test_a_refusal_is_not_waited_for(machine):
    (machine.directory / "troubles").write_text("PERMISSION_DENIED: tpu.nodes.create\n")
    ended = machine.run("tpu_pod.sh", *FLAGS)
    assert ended.returncode == 1
    assert "cannot create run1: ERROR" in ended.stderr
    assert "PERMISSION_DENIED" in ended.stderr
    assert len(machine.calls("tpu-vm create")) == 1


def test_a_tpu_that_does_not_become_ready_ends_the_wait(machine):
    ended = machine.run("tpu_pod.sh", *FLAGS, "--wait=0", FAKE_CREATED="CREATING")
    assert ended.returncode == 1
    assert "run1: expected READY within 0 minutes (--wait); it is MISSING" in ended.stderr
    (machine.directory / "state").write_text("CREATING")
    ended = machine.run("tpu_pod.sh", *FLAGS, "--wait=0")
    assert "it is CREATING" in ended.stderr


def test_what_never_became_ready_is_deleted_if_asked(machine):
    flags = (*FLAGS, "--queued-resource", "--delete", "--wait=0")
    (machine.directory / "queue").write_text("WAITING_FOR_RESOURCES")
    assert machine.run("tpu_pod.sh", *flags).returncode == 1
    assert len(machine.calls("queued-resources delete run1 --force")) == 1


@pytest.mark.parametrize(("flags", "deletions"), [((), 0), (("--delete",), 1)])
def test_an_interrupted_wait_tells_what_is_left_or_deletes_it(machine, flags, deletions):
    (machine.directory / "state").write_text("CREATING")
    process = machine.start("tpu_pod.sh", *FLAGS, *flags)
    machine.wait_until(lambda: len(machine.calls("describe")) > 2)
    process.send_signal(signal.SIGINT)
    ended = machine.end(process)
    assert ended.returncode == 130
    assert "interrupted; the same command goes on" in ended.stderr
    assert ("run1 is still there and costs" in ended.stderr) == (deletions == 0)
    assert len(machine.calls("tpu-vm delete run1")) == deletions


@pytest.fixture
def laptop(machine):
    """A copy of the launcher in a place without perl_jax; the python3 there has it or not."""
    for name in ("launch", "configs"):
        shutil.copytree(ROOT / name, machine.directory / name)
    bin_directory = machine.directory / "bin"
    bin_directory.mkdir()

    def start(*python):
        (bin_directory / "python3").write_text("\n".join(["#!/usr/bin/env bash", *python, ""]))
        (bin_directory / "python3").chmod(0o755)
        ended = subprocess.run(
            [machine.directory / "launch" / "tpu_pod.sh", *CHECKED, "--config.seed=3"],
            env=machine.environment | {"PATH": f"{bin_directory}:{machine.environment['PATH']}"},
            capture_output=True,
            text=True,
        )
        return ended.returncode, ended.stderr

    return start


def test_no_tpu_is_asked_for_if_the_check_finds_that_the_run_cannot_start(machine, laptop):
    checks = (
        '[[ $* == *--help ]] || { echo "$@" >>"$FAKE_CLOUD/checks"; echo "error: no rows" >&2; }'
    )
    status, said = laptop(checks, "[[ $* == *--help ]] || exit 2")
    assert status == 1
    assert "error: no rows\nlaunch/tpu_pod.sh: error: the check failed with status 2" in said
    assert machine.read("checks") == (
        "-m perl_jax check --type=v5litepod-16 --config=configs/demo.py "
        "--config.checkpoint.directory=gs://b/run1/checkpoints --config.seed=3\n"
    )
    assert not machine.calls("create")


def test_a_run_is_checked_once_before_a_tpu_is_asked_for(machine, laptop):
    (machine.directory / "troubles").write_text("There is no more capacity\n")
    laptop('[[ $* == *--help ]] || echo "$@" >>"$FAKE_CLOUD/checks"')
    assert machine.read("checks").count("-m perl_jax check") == 1
    assert machine.calls("create")


def test_a_laptop_without_perl_jax_asks_for_a_tpu_unchecked(machine, laptop):
    _, said = laptop("exit 1")
    assert "not checked, as perl_jax is not installed here" in said
    assert machine.calls("create")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_the_program_on_all_hosts(machine, number):
    machine.plan("wait")
    process = machine.start("tpu_pod.sh", *FLAGS)
    machine.wait_for("hosts/0/perl_jax/runs/run1/log.txt", "host 0 waits")
    machine.wait_for("hosts/1/perl_jax/runs/run1/log.txt", "host 1 waits")
    process.send_signal(number)
    ended = machine.end(process)
    assert ended.returncode == 130
    assert "host 0 saved and stopped" in ended.stdout
    assert "host 1 saved and stopped" in ended.stdout
    assert machine.read("buckets/b/run1/checkpoints/step") == "1\n"
    assert machine.read("starts").count(" from step ") == 2
    machine.plan("finish")
    assert machine.run("tpu_pod.sh", *FLAGS).returncode == 0
    assert "0 from step 1:" in machine.read("starts")


def test_the_program_outlives_the_launcher_which_comes_back_to_it(machine):
    machine.plan("wait")
    process = machine.start("tpu_pod.sh", *FLAGS)
    machine.wait_for("hosts/0/perl_jax/runs/run1/log.txt", "host 0 waits")
    machine.wait_until(lambda: len(machine.calls("worker.sh follow")) == 1)
    process.kill()
    process.wait()
    again = machine.start("tpu_pod.sh", *FLAGS)
    machine.wait_until(lambda: len(machine.calls("worker.sh follow")) == 2)
    again.send_signal(signal.SIGTERM)
    ended = machine.end(again)
    assert ended.returncode == 130
    assert "it is running already; going back to it" in ended.stderr
    assert len(machine.calls("tpu-vm scp")) == 1
    assert machine.read("starts").count(" from step ") == 2


def test_hosts_that_started_anew_get_the_program_again_on_the_same_tpu(machine):
    machine.plan("wait")
    process = machine.start("tpu_pod.sh", *FLAGS)
    for host in (0, 1):
        machine.wait_for(f"hosts/{host}/perl_jax/runs/run1/log.txt", f"host {host} waits")
    machine.plan("finish")
    for host in (0, 1):
        pid = machine.read(f"hosts/{host}/perl_jax/runs/run1/.launch/pid")
        os.killpg(int(pid), signal.SIGKILL)
    ended = machine.end(process)
    assert ended.returncode == 0, ended.stderr
    assert "lost (1 of 20)" in ended.stderr
    assert len(machine.calls("tpu-vm create")) == 1
    assert machine.read("starts").count(" from step ") == 4


def test_an_installation_that_fails_is_given_up(machine):
    ended = machine.run("tpu_pod.sh", *FLAGS, FAKE_UV_FAILS="yes")
    assert ended.returncode == 1
    assert "error: no network" in ended.stderr
    assert "run1 is READY, but installing or starting the program failed" in ended.stderr
    assert machine.read("starts") == ""


@pytest.mark.parametrize("kind", [(), ("--queued-resource",)])
def test_a_connection_that_breaks_is_taken_up_again(machine, kind):
    machine.plan("wait")
    process = machine.start("tpu_pod.sh", *FLAGS, *kind)
    for host in (0, 1):
        machine.wait_for(f"hosts/{host}/perl_jax/runs/run1/log.txt", f"host {host} waits")
    (machine.directory / "outage").write_text("Unable to reach the server\n")
    (machine.directory / "drop").touch()
    machine.wait_until(lambda: not machine.read("outage"))
    process.send_signal(signal.SIGTERM)
    ended = machine.end(process)
    assert ended.returncode == 130, ended.stderr
    assert "Unable to reach the server" in ended.stderr
    assert len(machine.calls("worker.sh follow")) > 1
    assert "host 0 saved and stopped" in ended.stdout
    assert not machine.calls("delete")
    assert machine.read("starts").count(" from step ") == 2


def test_a_finished_run_is_not_started_again(machine):
    assert machine.run("tpu_pod.sh", *FLAGS).returncode == 0
    assert machine.run("tpu_pod.sh", *FLAGS).returncode == 0
    assert machine.read("starts").count(" from step ") == 2
