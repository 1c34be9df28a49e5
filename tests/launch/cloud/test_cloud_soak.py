"""The long stories on the cloud: preemption in saves, broken connections, lost and four hosts."""

import signal

import pytest

from tests.launch.cloud.cloud import cloud_in
from tests.launch.cloud.story import STEPS, pod
from tests.launch.kept import assert_same_run

pytestmark = pytest.mark.soak

ON_FOUR = ("--config.mesh.fsdp=4", "--config.rollout.mesh.data=4")


@pytest.fixture(scope="module")
def undisturbed(cloud, bucket, tmp_path_factory):
    """The work directory of a run that nothing happened to."""
    shown = cloud.launch(*pod("calm", "--delete")).end()
    assert shown.count("installing on all hosts") == 1
    return bucket.fetch("calm", tmp_path_factory.mktemp("kept") / "calm")


def preempt_in_a_save(cloud, bucket, launch, name):
    """Takes the VM away while a step is being written; returns how often it took to hit one."""
    for step in range(1, STEPS + 1):
        place = f"runs/{name}/checkpoints/{step}"
        launch.until(lambda place=place: bucket.names(place), every=0.02)
        cloud.preempt(name, grace=0, late=True)
        if f"{step}/commit_success.txt" not in bucket.names(f"runs/{name}/checkpoints"):
            return step
    raise AssertionError("all saves were complete")


@pytest.mark.parametrize("kind", [(), ("--queued-resource",)], ids=["vm", "queued"])
def test_a_run_preempted_in_a_save_ends_as_one_that_was_not(
    cloud, bucket, undisturbed, tmp_path, kind
):
    name = f"save{len(kind)}"
    # Looks so seldom that the hosts have ended by then, however busy the machine is.
    launch = cloud.launch(*pod(name, "--delete", "--poll=5", *kind))
    times = preempt_in_a_save(cloud, bucket, launch, name)
    assert launch.end().count("finished; results are in") == 1
    assert len(cloud.calls(f"create {name}")) == times + 1
    assert_same_run(bucket.fetch(name, tmp_path / name), undisturbed, logs=False)


def test_a_vm_that_is_taken_away_with_notice_saves_first(cloud, bucket, undisturbed, tmp_path):
    launch = cloud.launch(*pod("notice", "--delete", "--spot"))
    launch.until_shown("step 1/")
    cloud.preempt("notice", grace=60, late=True)
    shown = launch.end()
    assert "stopped as asked after step " in shown
    assert len(cloud.calls("tpu-vm create notice", "--spot")) == 2
    assert_same_run(bucket.fetch("notice", tmp_path / "notice"), undisturbed)


def test_a_run_outlives_its_launcher_and_broken_connections(cloud, bucket, undisturbed, tmp_path):
    launch = cloud.launch(*pod("lonely"))
    launch.until_shown("loading ")
    launch.close()
    again = cloud.launch(*pod("lonely", "--delete"))
    again.until_shown("it is running already; going back to it")
    again.until_shown("step 1/")
    cloud.set(broken=2, unreachable=8, outages=["Unable to reach the server"])
    shown = again.end()
    assert shown.count("Retrying: SSH command error") >= 2
    assert len(cloud.calls("tpu-vm scp", "lonely:")) == 1
    assert_same_run(bucket.fetch("lonely", tmp_path / "lonely"), undisturbed)


def test_a_second_ctrl_c_leaves_the_run_alone(cloud, bucket):
    launch = cloud.launch(*pod("left"))
    launch.until_shown("loading ")
    # Nobody answers, so that the first has no effect yet.
    cloud.signal("left", signal.SIGSTOP)
    launch.interrupt()
    launch.until_shown("once more to leave it running")
    launch.interrupt()
    shown = launch.end(status=130)
    assert "left running; the same command goes back to it" in shown
    cloud.signal("left", signal.SIGCONT)
    cloud.launch(*pod("left", "--delete")).end()
    assert f"checkpoints/{STEPS}/commit_success.txt" in bucket.names("runs/left")


def test_a_host_that_dies_ends_the_others_and_its_log_comes_first(cloud):
    launch = cloud.launch(*pod("three"))
    launch.until_shown("step 1/")
    cloud.kill_program("three", 1)
    shown = launch.end(status=137)
    hosts = shown.index("host 1 failed with status 137"), shown.index("host 0 failed with status")
    assert hosts[0] < hosts[1]
    assert "the program failed with status 137; see above" in shown
    assert "three is still there and costs" in shown
    assert shown.count("installing on all hosts") == 1
    assert all(host.processes() == [] for host in cloud.hosts("three"))
    # The same command starts it again, on the same VM; with another flag, it says what is wrong.
    again = cloud.launch(*pod("three", "--delete", "--config.rollout.grops=4"))
    shown = again.end(status=1)
    assert "config.rollout.grops: unknown key (did you mean 'groups'?)" in shown
    assert len(cloud.calls("tpu-vm create three")) == 1
    assert len(cloud.calls("tpu-vm delete three")) == 1


def test_a_host_that_starts_anew_gets_the_program_again(cloud, bucket, undisturbed, tmp_path):
    launch = cloud.launch(*pod("anew", "--delete"))
    launch.until(lambda: bucket.has("runs/anew/checkpoints/1/commit_success.txt"))
    cloud.reboot("anew", 1)
    shown = launch.end()
    assert "lost (1 of 20)" in shown
    assert "; resumes from step " in shown
    assert len(cloud.calls("tpu-vm create anew")) == 1
    assert_same_run(bucket.fetch("anew", tmp_path / "anew"), undisturbed)


def test_a_mesh_for_other_chips_ends_the_run_and_is_not_tried_again(cloud):
    shown = cloud.launch(*pod("other", "--delete", "--config.mesh.fsdp=3")).end(status=1)
    assert "mesh" in shown[shown.index("the end of its log") :]
    assert shown.count("installing on all hosts") == 1


def test_a_run_without_fault_passes_the_check_and_a_tpu_is_asked_for(cloud):
    cloud.set(refusals=["PERMISSION_DENIED: tpu.nodes.create"])
    flags = ("--type=v5litepod-4", *ON_FOUR, "--delete")
    shown = cloud.launch(*pod("fit", *flags, check=True)).end(status=1)
    assert "rows looked at can be used" in shown
    passed = shown.index("nothing was found that would make this launch fail")
    assert passed < shown.index("creating fit (v5litepod-4 in us-west4-a)")
    assert "cannot create fit: " in shown
    assert "PERMISSION_DENIED: tpu.nodes.create" in shown


def test_four_hosts_run_as_two_do(variables, bucket, tmp_path):
    with cloud_in(tmp_path / "cloud", variables, hosts=4) as cloud:
        launch = cloud.launch(*pod("four", "--delete", *ON_FOUR))
        launch.until(lambda: bucket.has("runs/four/checkpoints/1/commit_success.txt"))
        cloud.preempt("four")
        shown = launch.end()
    assert "on 4 hosts" in shown
    assert "; resumes from step " in shown
    assert f"checkpoints/{STEPS}/commit_success.txt" in bucket.names("runs/four")
