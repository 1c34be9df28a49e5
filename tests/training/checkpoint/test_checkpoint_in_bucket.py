"""Checkpoints in a bucket: the same bits as on a disk, and an end when the bucket fails."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from etils import epath

from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.checkpoint import lease as module
from perl_jax.training.checkpoint.lease import Lease, LeaseError
from tests.bucket import NAME
from tests.faulty_bucket import RESET, SILENCE, faulty_bucket
from tests.training.checkpoint.checkpoint_states import abstract, assert_same, simple_state

CONFIG = CheckpointConfig(every=1, keep_last=5)
PRINT = {"a": 1}
# Saves into a bucket that is silent from the second step on, with shorter waits: each client reads
# its own when it first asks, so this is another process. The tests' own would be 30 s a request.
SAVES_INTO_SILENCE = """
import json, os, sys
from etils import epath
from orbax.checkpoint._src.serialization import tensorstore_utils
from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from tests.training.checkpoint.checkpoint_states import simple_state

retries = {"max_retries": 1, "initial_delay": "10ms", "max_delay": "10ms"}
for context in (tensorstore_utils._BASE_TS_CONTEXT, tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT):
    context["gcs_request_retries"] = retries
directory, config = epath.Path(sys.argv[1]), CheckpointConfig(every=1)
checkpoints = Checkpoints(directory, config, fingerprint={"a": 1})
for step in (1, 2):
    print("saves", step, flush=True)
    sys.stdin.readline()
    try:
        checkpoints.save(step, simple_state(step), {"n": step})
        checkpoints.wait()
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]), flush=True)
        os._exit(3)
"""
QUICK = {
    "TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS": "1",
    "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "1",
    "FSSPEC_GS": '{"requests_timeout": 1}',
}


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


def write(checkpoints, step):
    checkpoints.save(step, simple_state(step), {"n": step})
    checkpoints.wait()


def save(directory, step):
    with Checkpoints(directory, CONFIG, fingerprint=PRINT) as checkpoints:
        write(checkpoints, step)


def assert_restores(directory, step):
    with Checkpoints(directory, CONFIG, fingerprint=PRINT) as checkpoints:
        restored = checkpoints.restore(abstract(simple_state(step)), step)
    assert (restored.step, restored.host) == (step, {"n": step})
    assert_same(restored.arrays, simple_state(step))


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"x"])
def test_the_bucket_of_the_tests_keeps_every_byte(bucket, end):
    # The end of a checkpoint's manifest is a checksum: any byte.
    files = fsspec.filesystem("gs")
    files.pipe(f"{NAME}/bytes", b"\r\n--==0\x85" + end)
    assert files.cat(f"{NAME}/bytes") == b"\r\n--==0\x85" + end


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


def test_a_bucket_that_refuses_a_save_ends_it_and_older_steps_stay(bucket):
    directory = epath.Path(f"gs://{NAME}/refused/checkpoints")
    message = f"step 2 could not be saved in {directory}; older steps are still there: .*Forbidden"
    with Checkpoints(directory, CONFIG, fingerprint=PRINT) as checkpoints:
        write(checkpoints, 1)
        bucket.fault = lambda method, path: 403 if path.startswith("/upload") else None
        with pytest.raises(CheckpointError, match=message):
            write(checkpoints, 2)
        bucket.fault = lambda method, path: None
        assert checkpoints.steps() == [1]
    assert_restores(directory, 1)


@pytest.mark.story
def test_a_bucket_that_falls_silent_in_a_save_ends_it_and_older_steps_stay(bucket):
    directory = f"gs://{NAME}/silent/checkpoints"
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", SAVES_INTO_SILENCE, directory],
        cwd=root, env={**os.environ, **QUICK, "PYTHONPATH": str(root)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "saves 1\n"
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == "saves 2\n"
        bucket.fault = lambda method, path: SILENCE if path.startswith("/upload") else None
        told, _ = process.communicate("go on\n", timeout=300)
    assert process.returncode == 3, told
    kind, message = json.loads(told)
    assert kind == "CheckpointError"
    assert message.startswith(
        f"step 2 could not be saved in {directory}; older steps are still there: "
    )
    bucket.fault = lambda method, path: None
    assert_restores(epath.Path(directory), 1)


@pytest.mark.parametrize("fault", [403, SILENCE], ids=str)
def test_a_run_does_not_save_where_the_lease_cannot_be_renewed(bucket, fault, monkeypatch):
    directory = epath.Path(f"gs://{NAME}/lost-{fault}/checkpoints")
    message = rf"{directory}: \.lease cannot be renewed, so nothing more is saved; older steps"
    with Lease(directory, "/runs/mine", renewal=0.2) as lease:
        monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.5)
        bucket.fault = lambda method, path: fault
        with pytest.raises(CheckpointError, match=message) as caught:
            lease.check()
        assert ("no answer within" if fault == SILENCE else "403") in str(caught.value)
        bucket.fault = lambda method, path: None
        # It may pass, and the lease is held until it does not.
        lease.check()


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
