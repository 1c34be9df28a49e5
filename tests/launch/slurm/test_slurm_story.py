"""launch/slurm_gpu.sh on a real Slurm, with the real program: submitted, and all that follows."""

import json
import os
import signal
import sys

import pytest

from tests.launch.conftest import ROOT
from tests.launch.slurm.cluster import missing, running_cluster
from tests.launch.story import CONFIG, ONE_HOST, Gate, variables, write_checkpoint
from tests.training.resuming import differences

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


class Job:
    """A job of the story: its gate, and its work directory."""

    def __init__(self, cluster, place, name, *flags, model, nodes=1, steps=1):
        self.cluster = cluster
        self.nodes = nodes
        self.workdir = place / name
        self.gate = Gate(place / f"{name}.gate", steps, nodes)
        options = (f"--nodes={nodes}", "--gpus-per-node=1", "--time=60")
        if nodes == 1:
            flags = (*ONE_HOST, *flags)
        self.command = (
            *options, "launch/slurm_gpu.sh", CONFIG, f"--workdir={self.workdir}",
            f"--python={sys.executable}", f"--config.model.path={model}", *flags,
        )  # fmt: skip
        self.number = self.submit()

    def submit(self):
        return self.cluster.submit(*self.command, STORY_GATE=str(self.gate.directory))

    def wait(self, happened):
        self.cluster.wait(self.number, happened)

    def wait_at_gate(self, step):
        def waits():
            state = self.fields()["JobState"]
            assert state in ("PENDING", "CONFIGURING", "RUNNING"), self.cluster.log(self.number)
            return self.gate.waits(step, self.nodes)

        self.wait(waits)

    def says(self, text):
        return text in self.cluster.log(self.number)

    def call(self, *command):
        self.cluster.call(*command)

    def fields(self):
        return self.cluster.job(self.number)

    def end(self):
        """The fields of the job when it has ended, and its log."""
        return self.cluster.end(self.number), self.cluster.log(self.number)

    def steps(self):
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def cluster(place):
    (place / "cluster").mkdir()
    of_jobs = variables() | {
        "HOME": str(place),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    with running_cluster(place / "cluster", 5, of_jobs) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def model(place):
    return write_checkpoint(place / "tiny")


def bring_near_the_time_limit(job):
    # Slurm looks at the time limits every half a minute: five minutes are near.
    job.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=5")


def go_on_from_the_queue(job):
    # Slurm lets a job that it puts back into the queue wait for two minutes. One that starts in the
    # second in which the nodes have revoked its credential would fail.
    job.wait(lambda: job.fields()["JobState"] == "PENDING")
    job.wait(lambda: not job.cluster.is_on_nodes(job.number))
    job.call("scontrol", "update", f"JobId={job.number}", "StartTime=now+5", "TimeLimit=60")


@pytest.fixture(scope="module")
def jobs(cluster, place, model):
    """Jobs that run side by side; what ends each has happened to it in its second step."""
    limited = Job(cluster, place, "limited", model=model)
    killed = Job(cluster, place, "killed", model=model, nodes=2)
    cancelled = Job(cluster, place, "cancelled", model=model)
    failing = Job(cluster, place, "failing", model=model)
    limited.wait_at_gate(2)
    bring_near_the_time_limit(limited)
    cancelled.wait_at_gate(2)
    cancelled.call("scancel", cancelled.number)
    # Where nodes are slow, the signal would come after the step.
    cancelled.wait(lambda: cancelled.says("finishing step 2"))
    cancelled.gate.open()
    failing.wait_at_gate(2)
    failing.gate.fail()
    killed.wait_at_gate(2)
    os.kill(cluster.process(killed.number, task=1), signal.SIGKILL)
    return {"limited": limited, "killed": killed, "cancelled": cancelled, "failing": failing}


@pytest.mark.story
def test_near_the_time_limit_it_saves_and_goes_back_into_the_queue_until_it_is_finished(jobs):
    job = jobs["limited"]
    job.wait(lambda: job.says("Slurm wants the nodes back soon"))
    job.wait(lambda: job.says("finishing step 2"))
    job.gate.open()
    go_on_from_the_queue(job)
    fields, log = job.end()
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), log
    assert fields["Restarts"] == "1"
    assert "stopped as asked after step 2;" in log
    assert f"requeueing job {job.number}" in log
    assert "finished; results are in" in log
    assert job.steps() == [1, 2, 3]
    assert (job.workdir / "export" / "model.safetensors").is_file()


@pytest.mark.story
def test_a_program_that_fails_ends_the_job_with_its_message_and_status(jobs):
    fields, log = jobs["failing"].end()
    assert (fields["JobState"], fields["ExitCode"], fields["Restarts"]) == ("FAILED", "1:0", "0")
    assert "RuntimeError('no reward on host 0: the story says so')" in log
    assert "the program failed with status 1; it is not tried again" in log


@pytest.mark.story
def test_a_cancelled_job_saves_and_stays_out_of_the_queue(jobs):
    job = jobs["cancelled"]
    fields, _ = job.end()
    job.wait(lambda: job.says("the same command goes on\n"))
    assert (fields["JobState"], fields["Restarts"]) == ("CANCELLED", "0")
    assert job.says("stopped as asked after step 2;")
    assert not job.says("requeueing")
    assert job.steps() == [1, 2]


@pytest.mark.story
def test_a_task_that_is_killed_ends_the_job_which_names_it(jobs):
    job = jobs["killed"]
    fields, log = job.end()
    assert (fields["JobState"], fields["Restarts"]) == ("FAILED", "0")
    assert "task 1: Exited with exit code 137" in log
    assert "the program failed with status 137; it is not tried again" in log
    assert job.steps() == [1]


@pytest.mark.soak
def test_two_nodes_that_stop_and_are_lost_go_on_to_the_same_result_bit_by_bit(
    cluster, place, model
):
    undisturbed = Job(cluster, place, "undisturbed", model=model, nodes=2, steps=3)
    job = Job(cluster, place, "disturbed", model=model, nodes=2)
    job.wait_at_gate(2)
    bring_near_the_time_limit(job)
    job.wait(lambda: job.says("finishing step 2"))
    job.gate.allow(2)
    go_on_from_the_queue(job)
    job.wait_at_gate(3)
    node = job.fields()["NodeList"].split("[")[-1].rstrip("]")[-1]
    job.call("scontrol", "update", f"NodeName=node{node}", "State=DOWN", "Reason=lost")
    job.call("scontrol", "update", f"NodeName=node{node}", "State=RESUME")
    job.gate.open()
    go_on_from_the_queue(job)
    fields, log = job.end()
    assert (fields["JobState"], fields["Restarts"]) == ("COMPLETED", "2"), log
    assert undisturbed.end()[0]["JobState"] == "COMPLETED"
    assert differences(job.workdir, undisturbed.workdir) == []
