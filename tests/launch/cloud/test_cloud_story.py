"""launch/tpu_pod.sh from the first line to the last checkpoint: a cloud, a bucket, the program.

Nothing is replaced but what `tests.launch.cloud` says. The long stories are in test_cloud_soak.py.
"""

import pytest

from tests.launch.cloud.story import STEPS, pod
from tests.launch.kept import assert_same_run

pytestmark = pytest.mark.story


@pytest.fixture(scope="module")
def stopped(cloud, bucket, tmp_path_factory):
    """A run on a TPU VM that is stopped by Ctrl-C and goes on; its work directory."""
    cloud.set(no_capacity=1)
    launch = cloud.launch(*pod("one"))
    launch.until_shown("step 1/")
    assert "There is no more capacity in the zone" in launch.output
    launch.interrupt()
    shown = launch.end(status=130)
    assert "asking the program to save and stop; once more to leave it running" in shown
    assert "stopped as asked after step " in shown
    assert "stopped as asked; the same command goes on" in shown
    assert "one is still there and costs; --delete, or: gcloud compute tpus tpu-vm delete" in shown
    assert all(host.processes() == [] for host in cloud.hosts("one"))

    shown = cloud.launch(*pod("one", "--delete")).end()
    assert "finished; results are in gs://bkt/runs/one/workdir" in shown
    assert len(cloud.calls("tpu-vm create one")) == 2
    assert cloud.records.read()["nodes"] == {}
    return bucket.fetch("one", tmp_path_factory.mktemp("kept") / "one")


def test_a_run_on_a_tpu_vm_leaves_everything_in_the_bucket(stopped):
    kept = {path.name for path in stopped.iterdir()}
    assert {"metrics.jsonl", "rollouts.jsonl", "summary.json", "export", "log.txt"} <= kept
    assert (stopped / "checkpoints" / str(STEPS)).is_dir()


def test_a_run_by_a_queued_resource_is_preempted_and_ends_as_the_other(
    cloud, bucket, stopped, tmp_path
):
    launch = cloud.launch(*pod("two", "--queued-resource", "--spot", "--delete"))
    launch.until(lambda: bucket.has("runs/two/checkpoints/1/commit_success.txt"))
    launch.until(lambda: bucket.has("runs/two/workdir/metrics.jsonl"))
    # The rollout of the second step.
    cloud.preempt("two")
    shown = launch.end()
    assert "two is WAITING_FOR_RESOURCES" in shown
    assert "two is SUSPENDED" in shown
    assert shown.count("installing on all hosts") == 2
    assert "; resumes from step " in shown
    assert len(cloud.calls("queued-resources create two", "--spot")) == 2
    assert len(cloud.calls("queued-resources delete two", "--force")) == 2
    assert cloud.records.read()["requests"] == cloud.records.read()["nodes"] == {}
    assert_same_run(bucket.fetch("two", tmp_path / "two"), stopped)


def test_an_error_of_the_program_ends_everything_with_its_message_and_status(cloud):
    reward = (
        "--config.reward.functions={'fragile': 'tests.launch.cloud.rewards:fails_on_one_host'}",
        "--config.reward.weights={'fragile': 1.0}",
        "--config.reward.max_failed=0",
    )
    shown = cloud.launch(*pod("four", "--delete", *reward)).end(status=1)
    first = shown.index("host 1 failed with status 1; the end of its log:")
    assert first < shown.index("host 0 failed with status 1; the end of its log:")
    assert "RuntimeError('the grader of host 1 is out of order')" in shown[first:]
    assert shown.count("installing on all hosts") == 1
    assert len(cloud.calls("tpu-vm create four")) == len(cloud.calls("tpu-vm delete four")) == 1


def test_a_run_that_its_chips_do_not_fit_asks_for_no_tpu(cloud):
    shown = cloud.launch(*pod("unfit", check=True)).end(status=1)
    assert "expected data x fsdp x tensor = 16, as v5e:4x4 has so many chips; got 1 x 2 x" in shown
    assert "checkpoints: gs://bkt/runs/unfit/checkpoints can be written" in shown
    assert "the check failed with status 1, see above; no TPU was asked for" in shown
    assert cloud.calls("create unfit") == []
