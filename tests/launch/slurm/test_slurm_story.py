"""launch/slurm_gpu.sh on a real Slurm, with the real program: submitted, and all that follows."""

import json
import os
import signal
import sys

import pytest

from tests.launch.slurm.cluster import missing, running_cluster
from tests.launch.story import CONFIG, ONE_HOST, Gate, variables, write_checkpoint

pytestmark = [pytest.mark.story, pytest.mark.skipif(bool(missing()), reason=missing())]


class Job:
    """A job of the story: its gate, and its work directory."""

    def __init__(self, cluster, place, name, *flags, model, nodes=1, steps=1):
        self.cluster = cluster
        self.nodes = nodes
        self.workdir = place / name
        self.gate = Gate(place / f"{name}.gate", steps)
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


def near_the_time_limit(job):
    # Slurm looks at the time limits every half a minute: five minutes are near.
    job.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=5")
    job.wait(lambda: job.says("Slurm wants the nodes back soon"))
    job.gate.open()
    start_at_once(job)


def start_at_once(job):
    # Slurm lets a job that it puts back into the queue wait for two minutes.
    job.wait(lambda: job.fields()["JobState"] == "PENDING")
    job.call("scontrol", "update", f"JobId={job.number}", "StartTime=now")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("slurm")


@pytest.fixture(scope="module")
def jobs(place):
    """Jobs that run side by side, until each waits in the second step, or the first one."""
    model = write_checkpoint(place / "tiny")
    (place / "cluster").mkdir()
    with running_cluster(place / "cluster", 5, {"HOME": str(place), **variables()}) as cluster:
        yield {
            "limited": Job(cluster, place, "limited", model=model),
            "killed": Job(cluster, place, "killed", model=model, nodes=2),
            "cancelled": Job(cluster, place, "cancelled", model=model),
            "failing": Job(cluster, place, "failing", model=model, steps=0),
        }


def test_a_program_that_fails_ends_the_job_with_its_message_and_status(jobs):
    job = jobs["failing"]
    job.wait_at_gate(1)
    job.gate.fail()
    fields, log = job.end()
    assert (fields["JobState"], fields["ExitCode"], fields["Restarts"]) == ("FAILED", "1:0", "0")
    assert "RuntimeError('no reward on host 0: the story says so')" in log
    assert "the program failed with status 1; it is not tried again" in log


def test_near_the_time_limit_it_saves_and_goes_back_into_the_queue_until_it_is_finished(jobs):
    job = jobs["limited"]
    job.wait_at_gate(2)
    near_the_time_limit(job)
    fields, log = job.end()
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), log
    assert fields["Restarts"] == "1"
    assert "stopped as asked after step 2;" in log
    assert f"requeueing job {job.number}" in log
    assert "finished; results are in" in log
    assert job.steps() == [1, 2, 3]
    assert (job.workdir / "export" / "model.safetensors").is_file()


def test_a_cancelled_job_saves_and_stays_out_of_the_queue(jobs):
    job = jobs["cancelled"]
    job.wait_at_gate(2)
    job.call("scancel", job.number)
    job.gate.open()
    fields, log = job.end()
    job.wait(lambda: job.says("the same command goes on"))
    assert (fields["JobState"], fields["Restarts"]) == ("CANCELLED", "0")
    assert "stopped as asked after step 2;" in log
    assert "requeueing" not in log
    assert job.steps() == [1, 2]


def test_a_task_that_is_killed_ends_the_job_which_names_it(jobs):
    job = jobs["killed"]
    job.wait_at_gate(2)
    os.kill(job.cluster.process(job.number, task=1), signal.SIGKILL)
    fields, log = job.end()
    assert (fields["JobState"], fields["Restarts"]) == ("FAILED", "0")
    assert "task 1: Killed" in log
    assert "it is not tried again" in log
    assert job.steps() == [1]
