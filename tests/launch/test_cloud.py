"""The stand-in for a cloud: its states, its hosts, and that nothing of it is left behind."""

import subprocess
import sys
import time

import pytest

from tests.launch.cloud import nodes
from tests.launch.cloud.cloud import Cloud, cloud_in
from tests.launch.cloud.hosts import Host
from tests.launch.conftest import ROOT

WHERE = ("--zone=us-west4-a", "--quiet")
VM = ("--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite")
REQUEST = (
    "--node-id=a",
    "--accelerator-type=v5litepod-16",
    "--runtime-version=v2-alpha-tpuv5-lite",
)
FIND_OTHERS = (
    "from jax._src.clusters import GceTpuCluster as c; print(c.is_env_present(), "
    "c.get_process_id(), c.get_process_count(), c.get_coordinator_address(5, '77'))"
)


@pytest.fixture
def cloud(tmp_path):
    with cloud_in(tmp_path / "cloud", {"OF_ALL_HOSTS": "yes"}) as cloud:
        yield cloud


def gcloud(cloud: Cloud, kind: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What gcloud says, asked from the laptop."""
    return subprocess.run(
        [cloud.gcloud, "compute", "tpus", kind, *words, *WHERE],
        env=cloud.environment,
        capture_output=True,
        text=True,
    )


def state(cloud: Cloud, kind: str) -> str:
    field = "state" if kind == "tpu-vm" else "state.state"
    ended = gcloud(cloud, kind, "describe", "a", f"--format=value({field})")
    return ended.stdout.strip() or ended.stderr


@pytest.fixture
def vm(cloud):
    """A VM that is ready."""
    assert gcloud(cloud, "tpu-vm", "create", "a", *VM).returncode == 0
    return cloud.hosts("a")


def test_a_vm_is_refused_without_capacity_then_created_and_deleted(cloud):
    cloud.set(no_capacity=1)
    refused = gcloud(cloud, "tpu-vm", "create", "a", *VM)
    assert refused.returncode == 1
    assert "There is no more capacity in the zone" in refused.stderr
    assert "NOT_FOUND" in state(cloud, "tpu-vm")
    assert gcloud(cloud, "tpu-vm", "create", "a", *VM).returncode == 0
    assert state(cloud, "tpu-vm") == "READY"
    assert "ALREADY_EXISTS" in gcloud(cloud, "tpu-vm", "create", "a", *VM).stderr
    assert gcloud(cloud, "tpu-vm", "delete", "a").returncode == 0
    assert "NOT_FOUND" in state(cloud, "tpu-vm")


def test_a_queued_resource_waits_for_capacity_is_granted_and_lost(cloud):
    cloud.set(no_capacity=1)
    assert gcloud(cloud, "queued-resources", "create", "a", *REQUEST).returncode == 0
    seen = [state(cloud, "queued-resources") for _ in range(6)]
    waits = ["WAITING_FOR_RESOURCES"] * 2
    assert seen == ["CREATING", "ACCEPTED", *waits, "PROVISIONING", "ACTIVE"]
    assert state(cloud, "tpu-vm") == "READY"
    assert "--force" not in (said := gcloud(cloud, "queued-resources", "delete", "a").stderr)
    assert "FAILED_PRECONDITION" in said
    cloud.preempt("a", grace=0)
    assert state(cloud, "tpu-vm") == "PREEMPTED"
    seen = [state(cloud, "queued-resources") for _ in range(3)]
    assert seen == ["ACTIVE", "SUSPENDING", "SUSPENDED"]
    assert "NOT_FOUND" in state(cloud, "tpu-vm")
    assert gcloud(cloud, "queued-resources", "delete", "a").returncode == 0


def test_a_queued_resource_may_fail(cloud):
    cloud.set(fails_next_request=True)
    gcloud(cloud, "queued-resources", "create", "a", *REQUEST)
    seen = [state(cloud, "queued-resources") for _ in range(4)]
    assert seen[-1] == "FAILED"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("describe", "a", "--format=json"), "expected --format=value(state)"),
        (("create", "a", VM[0]), "missing: {'version'}"),
        (("create", "a", *VM, "--spott"), "unrecognized arguments: {'spott'}"),
        (("create", "a", *VM, "--project=other"), "PERMISSION_DENIED"),
        (("create", "a", VM[1], "--accelerator-type=v9-8"), "no accelerator type v9-8"),
        (("ssh", "a", "--worker=all", "--command=true"), "NOT_FOUND"),
    ],
)
def test_what_the_real_one_would_not_take_is_refused(cloud, words, said):
    ended = gcloud(cloud, "tpu-vm", *words)
    assert ended.returncode != 0
    assert said in ended.stderr


def test_a_command_runs_on_all_hosts_in_an_environment_of_their_own(cloud, vm, monkeypatch):
    cloud.environment["OF_THE_LAPTOP"] = "yes"
    command = "--command=cd; pwd; env; exit $((3 * $(basename $(dirname $HOME) | tr -d host-)))"
    ended = gcloud(cloud, "tpu-vm", "ssh", "a", "--worker=all", command)
    assert ended.returncode == 3
    assert {str(host.home) for host in vm} <= set(ended.stdout.splitlines())
    assert ended.stdout.count("OF_ALL_HOSTS=yes") == 2
    assert "OF_THE_LAPTOP" not in ended.stdout
    assert "TPU_WORKER_ID" not in ended.stdout


def test_a_file_is_copied_to_all_hosts_if_the_agent_has_the_key(cloud, vm, tmp_path):
    file = tmp_path / "file"
    file.write_text("here")
    words = ("scp", str(file), "a:copy", "--worker=all")
    assert gcloud(cloud, "tpu-vm", *words).returncode == 0
    assert [(host.home / "copy").read_text() for host in vm] == ["here", "here"]
    cloud.set(key_in_agent=False)
    assert "ssh-add" in gcloud(cloud, "tpu-vm", *words).stderr


def test_jax_finds_the_other_hosts_by_the_metadata_server(cloud, vm):
    for host in vm:
        command = f"import sys; sys.path.insert(0, {str(cloud.image)!r}); import stand_in_chips; "
        started = host.start(f'{sys.executable} -W ignore -c "{command}{FIND_OTHERS}"')
        out, err = started.communicate(timeout=120)
        assert out.decode() == f"True {host.number} 2 127.0.0.1:77\n", err.decode()


def test_a_host_is_told_its_number_when_it_runs_the_program(cloud, vm):
    worker = f"bash {ROOT / 'launch' / 'worker.sh'}"
    for host, status in zip(vm, (75, 0), strict=True):
        # The first host would know of a finished run.
        session = host.start(f"{worker} run --workdir=run -- true")
        session.communicate()
        assert session.returncode == status


def test_a_connection_that_breaks_is_tried_again_by_gcloud(cloud, vm):
    cloud.set(unreachable=2)
    ended = gcloud(cloud, "tpu-vm", "ssh", "a", "--worker=all", "--command=echo here")
    assert (ended.returncode, ended.stdout) == (0, "here\nhere\n")
    assert ended.stderr.count("Retrying") == 2
    cloud.set(unreachable=10)
    assert gcloud(cloud, "tpu-vm", "ssh", "a", "--worker=all", "--command=true").returncode == 255


def in_the_background(host: Host, command: str) -> None:
    """Starts what outlives its session, and waits until it runs."""
    host.start(f"setsid nohup {command} & ").communicate()
    deadline = time.monotonic() + 60
    while not host.processes("sleep"):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("late", [False, True])
def test_a_preemption_ends_all_processes_and_takes_the_disks(cloud, vm, late):
    stubborn = "bash -c 'trap \"echo asked >../../../../asked\" TERM; while :; do sleep 600; done'"
    in_the_background(vm[0], f"{stubborn} >/dev/null 2>&1")
    in_the_background(vm[1], "sleep 600 >/dev/null 2>&1")
    cloud.preempt("a", grace=0.2, late=late)
    assert (cloud.folder / "asked").read_text() == "asked\n"
    assert all(host.processes() == [] for host in vm)
    assert not any(host.folder.exists() for host in vm)
    assert "PREEMPTED" in gcloud(cloud, "tpu-vm", "ssh", "a", "--worker=all", "--command=w").stderr


def test_no_process_outlives_a_cloud(tmp_path):
    with cloud_in(tmp_path / "cloud", {}) as cloud:
        gcloud(cloud, "tpu-vm", "create", "a", *VM)
        hosts = list(nodes.all_hosts(cloud.folder))
        in_the_background(hosts[0], "sleep 600 >/dev/null 2>&1")
    assert all(host.processes() == [] for host in hosts)
