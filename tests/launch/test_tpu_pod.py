"""launch/tpu_pod.sh against a stand-in for gcloud whose two hosts really run launch/worker.sh."""

import os
import signal

import pytest

FLAGS = ("--name=run1", "--zone=us-west4-a", "--type=v5litepod-16", "--bucket=gs://b",
         "--config=configs/demo.py", "--poll=0.1")  # fmt: skip


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
