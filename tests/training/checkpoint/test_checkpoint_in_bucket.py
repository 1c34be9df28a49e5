"""Checkpoints in a bucket: the same bits as on a disk, and an end when the bucket fails."""

import time

import fsspec
import pytest
from etils import epath

from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from perl_jax.training.checkpoint import lease as module
from perl_jax.training.checkpoint.lease import Lease, LeaseError
from tests.bucket import NAME
from tests.faulty_bucket import RESET, SILENCE, faulty_bucket
from tests.training.checkpoint.checkpoint_states import abstract, assert_same, simple_state

CONFIG = CheckpointConfig(every=1, keep_last=5)
PRINT = {"a": 1}


@pytest.fixture(scope="module")
def running():
    with faulty_bucket() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(running):
    yield running
    running.fault = lambda method, path: None


def save(directory, step):
    with Checkpoints(directory, CONFIG, fingerprint=PRINT) as checkpoints:
        checkpoints.save(step, simple_state(step), {"n": step})


def assert_restores(directory, step):
    with Checkpoints(directory, CONFIG, fingerprint=PRINT) as checkpoints:
        restored = checkpoints.restore(abstract(simple_state(step)), step)
    assert (restored.step, restored.host) == (step, {"n": step})
    assert_same(restored.arrays, simple_state(step))


def test_a_checkpoint_of_a_bucket_restores_from_a_local_copy_and_the_other_way_round(
    bucket, tmp_path
):
    far, near = epath.Path(f"gs://{NAME}/copied/checkpoints"), epath.Path(tmp_path / "near")
    files = fsspec.filesystem("gs")
    save(far, 3)
    files.get(f"{NAME}/copied/checkpoints", str(near), recursive=True)
    assert_restores(near, 3)
    save(near, 4)
    files.put(f"{near}/4/", f"{NAME}/copied/checkpoints/4/", recursive=True)
    files.invalidate_cache()
    assert_restores(far, 4)
    assert_restores(far, 3)


@pytest.mark.parametrize("fault", [503, RESET, 0.1], ids=str)
def test_a_save_into_a_bucket_that_fails_at_times_or_is_slow_is_whole(bucket, fault):
    directory = epath.Path(f"gs://{NAME}/shaky-{fault}/checkpoints")
    kinds = {("POST", "/upload"), ("GET", "/storage"), ("POST", "/storage"), ("GET", "/download")}

    def of_request(method, path):
        # Of every kind of request one; clients ask again after some seconds.
        kind = method, path[: path.index("/", 1)]
        if kind in kinds and "/o" in path:
            kinds.discard(kind)
            return fault
        return None

    bucket.fault = of_request
    save(directory, 1)
    bucket.fault = lambda method, path: None
    assert ("POST", "/upload") not in kinds
    assert_restores(directory, 1)


@pytest.mark.parametrize("fault", [403, SILENCE], ids=str)
def test_a_run_does_not_start_where_the_bucket_refuses_or_is_silent(bucket, fault, monkeypatch):
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 1.0)
    bucket.fault = lambda method, path: fault
    directory = epath.Path(f"gs://{NAME}/run/checkpoints")
    with pytest.raises(
        LeaseError, match=rf"{directory}, where \.lease cannot be written"
    ) as caught:
        Lease(directory, "/runs/mine").__enter__()
    assert ("no answer within 1 s" if fault == SILENCE else "403") in str(caught.value)


def test_a_lease_is_given_back_in_time_though_the_bucket_is_silent(bucket):
    with Lease(epath.Path(f"gs://{NAME}/kept/checkpoints"), "/runs/mine", renewal=0.2) as lease:
        bucket.fault = lambda method, path: SILENCE
        asked = len(bucket.asked)
        while len(bucket.asked) == asked:
            time.sleep(0.01)
    # It would be in TensorStore when the interpreter ends.
    assert not lease._thread.is_alive()


def test_buckets_that_checkpoints_are_not_written_to_are_refused_by_the_configuration():
    message = "directory: expected a path, gs://.* or s3://.* got 'az://bucket/run'"
    with pytest.raises(ValueError, match=message):
        CheckpointConfig(directory="az://bucket/run")
