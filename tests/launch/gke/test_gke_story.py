"""The container of launch/gke_jobset.yaml, with the real program and a bucket, to its end."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.bucket import running_bucket
from tests.launch.conftest import ROOT, Machine
from tests.launch.gke.jobset import JobSet, missing
from tests.launch.image import copy, instructions
from tests.launch.kept import assert_same_run, bucket_of
from tests.launch.story import CONFIG, ONE_HOST, Gate, variables, write_checkpoint
from tests.servers import free_ports

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("gke")


@pytest.fixture(scope="module")
def image(place):
    """What the image holds, and the configuration of the story; its Python is that of the tests."""
    for instruction in instructions():
        if instruction.name == "COPY":
            copy(instruction.rest, place / "image")
    (place / "image" / "tests").symlink_to(ROOT / "tests")
    return place / "image"


@pytest.fixture(scope="module")
def in_bucket():
    """The environment in which the bucket is found."""
    with running_bucket() as environment:
        yield environment


@pytest.fixture(scope="module")
def bucket(in_bucket):
    with bucket_of(in_bucket) as bucket:
        yield bucket


class Metadata(BaseHTTPRequestHandler):
    """The metadata server of a node, which knows of no other slices."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def metadata():
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def model(place):
    return write_checkpoint(place / "tiny")


@pytest.fixture
def start(place, image, in_bucket, metadata, model):
    """Starts a JobSet of so many hosts; all end with the test."""
    started = []

    def start(name, *flags, hosts=2, steps=1):
        topology = {1: "2x2", 2: "2x4"}[hosts]
        if hosts == 1:
            flags = (*ONE_HOST, *flags)
        rendered = Machine(place).run(
            "gke_jobset.sh", f"--name={name}", "--type=v5e", f"--topology={topology}",
            "--image=perl_jax:tpu", "--bucket=gs://bkt/runs", CONFIG, "--render",
            f"--config.model.path={model}", *flags,
        )  # fmt: skip
        assert rendered.returncode == 0, rendered.stderr
        (place / name).mkdir()
        gate = Gate(place / f"{name}.gate", steps, hosts)
        environment = variables() | in_bucket | {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "STORY_GATE": str(gate.directory),
            # JAX asks it whether there are other slices.
            "GCE_METADATA_IP": metadata,
            # The port of JAX's coordinator is a fixed one, which another story may have.
            "JAX_COORDINATOR_PORT": str(*free_ports(1)),
            # Takes this machine for a host of a TPU.
            "JAX_FORCE_TPU_INIT": "1",
        }  # fmt: skip
        jobset = JobSet(yaml.safe_load(rendered.stdout), image, place / name, environment)
        started.append(jobset)
        jobset.start()
        return jobset, gate

    yield start
    for jobset in started:
        jobset.end()


@pytest.mark.story
def test_a_preempted_run_starts_again_goes_on_and_is_exported_into_the_bucket(start, bucket):
    jobset, gate = start("spot", "--config.seed=5")
    jobset.until(lambda: gate.waits(2, hosts=2))
    jobset.disrupt(0)
    jobset.until(lambda: "finishing step 2" in jobset.log(0, start=1))
    gate.open()
    outcome, message = jobset.end_of_job()
    assert (outcome, jobset.restarts, jobset.restarts_towards_max) == ("Restarted", 1, 0), message
    assert "stopped as asked after step 2;" in jobset.log(0, start=1)
    assert jobset.end_of_job() == ("Completed", "")
    kept = bucket.names("runs/spot")
    assert {"workdir/export/model.safetensors", "workdir/summary.json"} <= kept
    assert any(name.startswith("checkpoints/3/") for name in kept)
    metrics = bucket.read("runs/spot/workdir/metrics.jsonl").splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [1, 2, 3]


@pytest.mark.story
def test_an_error_of_the_program_ends_the_jobset_with_its_message_and_status(start):
    jobset, gate = start("failing", hosts=1, steps=0)
    jobset.until(lambda: gate.waits(1))
    gate.fail()
    outcome, message = jobset.end_of_job()
    assert (outcome, jobset.restarts) == ("Failed", 0)
    assert "failed with exit code 1 matching" in message
    assert "RuntimeError('no reward on host 0: the story says so')" in jobset.log(0, start=1)


@pytest.mark.soak
def test_a_host_that_dies_restarts_all_which_counts_and_the_result_is_the_same(
    start, bucket, place
):
    undisturbed, _ = start("undisturbed", steps=3)
    assert undisturbed.end_of_job() == ("Completed", "")
    jobset, gate = start("dying")
    jobset.until(lambda: gate.waits(2, hosts=2))
    os.killpg(jobset.pods[1].process.pid, signal.SIGKILL)
    outcome, _ = jobset.end_of_job()
    assert (outcome, jobset.restarts, jobset.restarts_towards_max) == ("Restarted", 1, 1)
    gate.open()
    assert jobset.end_of_job() == ("Completed", "")
    runs = [bucket.fetch(name, place / f"{name}.kept") for name in ("dying", "undisturbed")]
    assert_same_run(*runs)
