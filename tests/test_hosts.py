"""Two processes that meet, wait for each other, and end together within a minute."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import jax
import pytest

from perl_jax import hosts

ROOT = Path(__file__).parents[1]
SCENARIOS = (
    "meet", "replicates", "keeps_no_program", "late", "elsewhere", "raises", "killed", "echo",
    "killed_main",
)  # fmt: skip
# Seconds, of which 10 pass until a heartbeat is missed, within which all have ended.
LIMIT = 300


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Of every scenario and host: its exit status, and what it said."""
    directory = tmp_path_factory.mktemp("hosts")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "tests.hosts_program", str(directory), *SCENARIOS]
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as process:
        try:
            assert process.wait(LIMIT) == 0
        finally:
            # None of a scenario that hangs is left.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    files = {
        (scenario, index): directory / f"{scenario}-{index}"
        for scenario in SCENARIOS
        for index in range(2)
    }
    return {
        name: (int(file.with_suffix(".status").read_text()), file.read_text())
        for name, file in files.items()
    }


def test_hosts_tell_each_other_values_of_any_size(ends):
    for index in range(2):
        status, said = ends["meet", index]
        assert status == 0, said
        assert said.splitlines()[-1] == "done"


def test_a_host_puts_an_array_on_its_devices_without_the_others(ends):
    assert [ends["replicates", index][0] for index in range(2)] == [0, 0], ends


def test_hosts_with_cpus_keep_no_programs_whose_collectives_would_lose_their_order(ends):
    assert [ends["keeps_no_program", index][0] for index in range(2)] == [0, 0], ends


@pytest.mark.reliability("F29")
def test_a_host_that_does_not_come_before_the_deadline_is_named(ends):
    status, said = ends["late", 0]
    assert status == 1
    assert "the end of step 3: host 1 did not come within 2 s (hosts.deadline)" in said


@pytest.mark.reliability("F29")
def test_a_host_that_is_late_ends_with_the_others_while_it_is_busy(ends):
    status, said = ends["late", 1]
    assert status == 1
    assert "ended with the others, since host 0" in said
    assert "host 1 did not come" in said


def test_hosts_that_are_at_different_places_end_and_say_where(ends):
    status, said = ends["elsewhere", 0]
    assert status == 1
    assert "'the end of step 3'" in said
    assert "host 1 is at 'rewards'" in said
    assert ends["elsewhere", 1][0] == 1


@pytest.mark.reliability("F28")
def test_an_exception_on_one_host_ends_the_other_with_its_cause(ends):
    status, said = ends["raises", 1]
    assert status == 1
    assert "ValueError: a reward function failed on row 7" in said
    status, said = ends["raises", 0]
    assert status == 1
    assert "ended with the others, since host 1" in said
    assert "ValueError: a reward function failed on row 7" in said


@pytest.mark.reliability("F26", "F27")
@pytest.mark.parametrize(
    ("scenario", "dead", "cause"),
    [
        ("killed", 1, "The following tasks are unhealthy (stopped sending heartbeats):\n1\n"),
        ("echo", 1, "The following tasks are unhealthy (stopped sending heartbeats):\n1\n"),
        ("killed_main", 0, "the leader task was preempted/died/restarted unexpectedly"),
    ],
)
def test_a_host_that_is_killed_ends_the_other_which_names_it(ends, scenario, dead, cause):
    assert ends[scenario, dead][0] == -9
    status, said = ends[scenario, 1 - dead]
    # Not the 1 of an error: who started it tries again.
    assert status == -signal.SIGABRT
    assert cause in said
    assert "done" not in said.splitlines()


@pytest.mark.reliability("F33")
@pytest.mark.story
def test_a_coordinator_that_is_not_there_ends_the_process_after_it_was_named():
    program = (
        "from perl_jax import hosts\n"
        "hosts.connect(coordinator='127.0.0.1:9', num_hosts=2, host=1, connect_seconds=2)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode != 0
    assert "joining the other hosts by 127.0.0.1:9, for at most 2 s" in run.stderr


def test_a_host_that_is_told_to_end_before_a_run_listens_ends_at_once():
    """A spot machine that is taken back while the model loads: there is nothing to save yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import time\n"
        "from perl_jax import hosts\n"
        f"hosts.connect(coordinator='127.0.0.1:{port}', num_hosts=1, host=0)\n"
        "print('joined', flush=True)\n"
        "time.sleep(3600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "joined\n"
        run.terminate()
        assert run.wait() == -signal.SIGTERM


# A single host.


def test_a_single_host_meets_itself():
    assert jax.process_count() == 1
    assert hosts.gather({"a": 1}, "numbers") == [{"a": 1}]
    assert hosts.gather_bytes(b"x", "data") == [b"x"]
    hosts.check_same({"config": "a"}, "the run")
    assert hosts.is_main()
    with pytest.raises(KeyError), hosts.end_together():
        raise KeyError("passes")


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
        ({"SLURM_NTASKS": "4"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"}, True),
    ],
)
def test_the_environment_says_whether_there_are_other_hosts(environment, several):
    assert hosts.expects_others(environment) is several


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "a:1"}, "coordinator: expected num_hosts, host too"),
        ({"coordinator": "a:1", "num_hosts": 2, "host": 2}, "host: expected 0 to 1; got 2"),
        (
            {"distributed": "off", "coordinator": "a:1", "num_hosts": 2, "host": 0},
            "coordinator: expected --distributed=auto or on with it; got off",
        ),
        ({"distributed": "maybe"}, "distributed: expected one of auto, on, off; got 'maybe'"),
    ],
)
def test_flags_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        hosts.connect(**arguments)


def test_a_deadline_must_be_positive():
    with pytest.raises(ValueError, match="deadline: expected a positive number of seconds; got 0"):
        hosts.HostsConfig(0)
