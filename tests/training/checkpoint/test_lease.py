"""One job has a directory of checkpoints, and another gets it when that one is gone."""

import json
import logging
import os
import subprocess
import sys
import time

import jax.numpy as jnp
import pytest
from etils import epath

from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.checkpoint import lease as module
from perl_jax.training.checkpoint.lease import LEASE, Lease, LeaseError, Owner
from tests.training.checkpoint.bucket import bucket

# Holds the lease until it is killed.
HOLDER = """
import sys, time
from etils import epath
from perl_jax.training.checkpoint.lease import Lease
with Lease(epath.Path(sys.argv[1]), "/runs/holder"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def directory(tmp_path):
    return epath.Path(tmp_path / "my checkpoints")


def write(directory, **changes):
    """The lease of a job on another machine."""
    owner = Owner("t", "far", "another machine", 7, "1", "/runs/far", time.time(), time.time())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / LEASE).write_text(json.dumps(vars(owner) | changes))


def owner_of(directory):
    return json.loads((directory / LEASE).read_text())


def test_the_lease_names_its_owner_and_goes_with_it(directory):
    with Lease(directory, "/runs/mine"):
        owner = owner_of(directory)
        assert (owner["process"], owner["run"]) == (os.getpid(), "/runs/mine")
    assert not (directory / LEASE).exists()
    with Lease(directory, "/runs/mine"):
        pass


@pytest.mark.reliability("F15")
def test_a_job_on_this_machine_that_runs_keeps_the_directory_and_is_named(directory):
    with Lease(directory, "/runs/mine"):
        with pytest.raises(LeaseError) as caught, Lease(directory, "/runs/other"):
            pass
        assert owner_of(directory)["run"] == "/runs/mine"
    said = str(caught.value)
    assert said.startswith(f"checkpoint.directory {directory}: in use by process {os.getpid()} on ")
    for part in ("workdir /runs/mine", "s ago", "Stop that job, or give another --config.checkpoi"):
        assert part in said


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(directory):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LeaseError, match=f"in use by process {holder.pid} on"):
        Lease(directory, "/runs/mine").__enter__()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    # It would wait for ten minutes if it had to wait.
    with Lease(directory, "/runs/mine", expiry=600.0):
        assert owner_of(directory)["process"] == os.getpid()


def test_the_lease_of_another_machine_is_taken_over_when_it_stays_unchanged(directory, caplog):
    write(directory)
    with caplog.at_level(logging.WARNING), Lease(directory, "/runs/mine", expiry=0.2):
        assert owner_of(directory)["run"] == "/runs/mine"
    assert "leased by process 7 on far (workdir /runs/far, since" in caplog.text
    assert "takes over the lease of process 7 on far" in caplog.text


def test_a_lease_of_another_machine_that_is_renewed_is_refused(directory, monkeypatch):
    write(directory)

    def renewed(seconds):
        write(directory, renewed=time.time() + 1)

    monkeypatch.setattr(module.time, "sleep", renewed)
    with pytest.raises(LeaseError, match=r"process 7 on far .* renewed its lease 0 s ago"):
        Lease(directory, "/runs/mine").__enter__()
    assert owner_of(directory)["run"] == "/runs/far"


def test_a_lease_that_is_long_out_of_date_needs_no_wait(directory):
    write(directory, renewed=time.time() - 3600)
    with Lease(directory, "/runs/mine", expiry=600.0):
        assert owner_of(directory)["run"] == "/runs/mine"


def test_a_process_of_this_machine_that_stands_still_keeps_its_lease(directory):
    write(directory, **{**vars(Owner.me("/runs/other")), "renewed": time.time() - 3600})
    with pytest.raises(LeaseError, match=r"workdir /runs/other.* renewed its lease 3600 s ago"):
        Lease(directory, "/runs/mine", expiry=0.1).__enter__()


def test_a_damaged_lease_is_taken_over_when_it_stays_unchanged(directory):
    directory.mkdir(parents=True)
    (directory / LEASE).write_text("{")
    with Lease(directory, "/runs/mine", expiry=0.2):
        assert owner_of(directory)["run"] == "/runs/mine"


def test_a_process_of_the_same_number_that_began_at_another_time_is_not_the_owner(directory):
    mine = Owner.me("/runs/mine")
    assert not mine.is_dead()
    write(directory, **{**vars(mine), "born": "1"})
    with Lease(directory, "/runs/mine", expiry=600.0):
        assert owner_of(directory)["born"] == mine.born


def test_the_owner_renews_its_lease_in_the_background(directory):
    with Lease(directory, "/runs/mine", renewal=0.01):
        before = owner_of(directory)["renewed"]
        deadline = time.monotonic() + 60
        while owner_of(directory)["renewed"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_of_two_that_find_the_same_stale_lease_one_gets_it(directory):
    write(directory)
    first, second = Lease(directory, "/runs/a"), Lease(directory, "/runs/b")
    generation = first._store.read(LEASE).result().stamp.generation
    assert [lease._write(generation) for lease in (first, second)] == [True, False]
    assert owner_of(directory)["run"] == "/runs/a"


def test_after_another_job_has_taken_over_nothing_is_saved(directory):
    with Lease(directory, "/runs/mine") as lease:
        config = CheckpointConfig(every=1)
        with Checkpoints(directory, config, fingerprint={"a": 1}, lease=lease) as checkpoints:
            checkpoints.save(1, {"w": jnp.ones(4)}, {})
            # Steps and the lease are side by side.
            checkpoints.wait()
            write(directory)
            with pytest.raises(CheckpointError, match=r"process 7 on far .* has taken over"):
                checkpoints.save(2, {"w": jnp.ones(4)}, {})
        assert checkpoints.steps() == [1]
    # The other job's stays.
    assert owner_of(directory)["run"] == "/runs/far"
    with Checkpoints(directory, config, fingerprint=None) as checkpoints:
        assert checkpoints.steps() == [1]


def test_a_lease_that_somebody_removed_is_written_again(directory):
    with Lease(directory, "/runs/mine") as lease:
        (directory / LEASE).unlink()
        lease.check()
        assert owner_of(directory)["run"] == "/runs/mine"


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").touch()
    place = epath.Path(tmp_path / "file" / "checkpoints")
    with pytest.raises(
        LeaseError, match=r"checkpoint\.directory: .* got .*checkpoints, where \.lease cannot be"
    ):
        Lease(place, "/runs/mine").__enter__()


# In a bucket.


@pytest.fixture
def far(monkeypatch):
    """A bucket, and the directory of checkpoints in it."""
    with bucket() as server:
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", server.url)
        yield server, epath.Path("gs://bucket/run/checkpoints")


def owner_in(server):
    return json.loads(server.objects[f"run/checkpoints/{LEASE}"][1])


def test_a_bucket_holds_the_lease_as_a_directory_does(far):
    server, directory = far
    with Lease(directory, "/runs/mine") as lease:
        assert owner_in(server)["run"] == "/runs/mine"
        lease.check()
        with pytest.raises(LeaseError, match=r"gs://bucket/run/checkpoints: in use by process"):
            Lease(directory, "/runs/other").__enter__()
    assert server.objects == {}


def test_of_two_machines_that_find_the_same_stale_lease_in_a_bucket_one_gets_it(far):
    server, directory = far
    leases = [Lease(directory, f"/runs/{name}") for name in "abc"]
    found = leases[0]._store.read(LEASE).result().stamp.generation
    assert [lease._write(found) for lease in leases[:2]] == [True, False]
    found = leases[0]._store.read(LEASE).result().stamp.generation
    assert [lease._write(found) for lease in leases[1:]] == [True, False]
    assert owner_in(server)["run"] == "/runs/b"
    with pytest.raises(LeaseError, match="has taken over"):
        leases[0].check()
