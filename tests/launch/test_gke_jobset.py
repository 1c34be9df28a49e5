"""launch/gke_jobset.sh renders manifests that the published definition of JobSet allows."""

import copy
import json
import subprocess
import warnings
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.launch.conftest import ROOT
from tests.launch.gke.jobset import JobSet, Pod, as_kubernetes_reads
from tests.launch.schemas import violations

SCHEMA = json.loads((Path(__file__).parent / "jobset_schema.json").read_text())
FLAGS = ("--name=run1", "--image=us-docker.pkg.dev/p/r/perl_jax:tpu", "--bucket=gs://b/runs/",
         "--config=configs/demo.py")  # fmt: skip


def rendered(machine, *arguments):
    ended = machine.run("gke_jobset.sh", *FLAGS, "--render", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert "${" not in ended.stdout
    return yaml.safe_load(ended.stdout)


def job_of(manifest):
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]


def container_of(manifest):
    (container,) = job_of(manifest)["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    ("flags", "accelerator", "hosts", "chips"),
    [
        (("--type=v5e", "--topology=4x4"), "tpu-v5-lite-podslice", 4, 4),
        (("--type=v5e", "--topology=2x2"), "tpu-v5-lite-podslice", 1, 4),
        (("--type=v5e", "--topology=1x1"), "tpu-v5-lite-podslice", 1, 1),
        (("--type=v5e", "--topology=2x4", "--chips-per-host=8"), "tpu-v5-lite-podslice", 1, 8),
        (("--type=v6e", "--topology=4x8"), "tpu-v6e-slice", 8, 4),
        (("--type=v5p", "--topology=2x4x4"), "tpu-v5p-slice", 8, 4),
        (("--type=v4", "--topology=2x2x1"), "tpu-v4-podslice", 1, 4),
    ],
)
def test_a_pod_runs_on_every_host_of_the_topology(machine, flags, accelerator, hosts, chips):
    manifest = rendered(machine, *flags)
    assert list(violations(manifest, SCHEMA)) == []
    job = job_of(manifest)
    assert job["completions"] == job["parallelism"] == hosts
    assert container_of(manifest)["resources"]["limits"] == {"google.com/tpu": chips}
    selector = job["template"]["spec"]["nodeSelector"]
    assert selector["cloud.google.com/gke-tpu-accelerator"] == accelerator
    assert "cloud.google.com/gke-spot" not in selector


def test_spot_nodes_are_selected_if_asked(machine):
    manifest = rendered(machine, "--type=v5e", "--topology=4x4", "--spot")
    assert list(violations(manifest, SCHEMA)) == []
    pod = job_of(manifest)["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"


def test_what_follows_the_end_of_a_host_depends_on_why_it_ended(machine):
    manifest = rendered(machine, "--type=v5e", "--topology=4x4", "--max-restarts=2")
    policy, job = manifest["spec"]["failurePolicy"], job_of(manifest)
    assert policy["maxRestarts"] == 2
    interrupted, error = policy["rules"]
    assert interrupted["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert error["action"] == "FailJobSet"
    for rule in (interrupted, error):
        assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert "onJobFailureMessagePatterns" not in error
    conditions, asked, failed = job["podFailurePolicy"]["rules"]
    assert conditions["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert asked["onExitCodes"] == {"containerName": "train", "operator": "In", "values": [75]}
    assert failed["onExitCodes"] == {"containerName": "train", "operator": "In", "values": [1, 2]}
    assert job["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("status", "is_disrupted", "starts_again", "counted"),
    [
        (75, False, True, 0),
        (143, True, True, 0),
        # The coordinator ended it, as another host was lost; or the kernel, for want of memory.
        (134, False, True, 1),
        (137, False, True, 1),
        (-9, False, True, 1),
        (1, False, False, 0),
        (2, False, False, 0),
        # Told to end by the failure of another host, whose node went away.
        (1, True, True, 0),
    ],
)
def test_a_jobset_starts_again_unless_its_program_ended_with_an_error(
    machine, status, is_disrupted, starts_again, counted
):
    manifest = rendered(machine, "--type=v5e", "--topology=2x4", "--max-restarts=1")
    jobset = JobSet(manifest, machine.directory, machine.directory, {})
    process = subprocess.Popen(["true"])
    process.wait()
    process.returncode = status
    failure = jobset.failure_of(Pod(1, process, is_disrupted))
    assert jobset.starts_again(*failure) is starts_again
    assert jobset.restarts_towards_max == counted
    if counted:
        assert not jobset.starts_again(*failure)


def test_the_parts_of_kubernetes_are_as_its_own_schemas_want_them(machine):
    manifest = rendered(machine, "--type=v5e", "--topology=4x4", "--spot")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    job["spec"] = job_of(manifest)
    validated(job)
    misspelt = copy.deepcopy(job)
    misspelt["spec"]["template"]["spec"]["nodeSelectr"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeSelectr"):
        validated(misspelt)


def validated(resource):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kubernetes_validate.validate(resource, "1.31", strict=True)


def test_arguments_arrive_as_they_were_given(machine):
    hostile = r"""--config.data.train.parquet.paths=("b/\*",'x & y: #z','$(HOME)','$$x',"$y")"""
    manifest = rendered(machine, "--type=v5e", "--topology=4x4", hostile, "--", "--debug")
    arguments = container_of(manifest)["args"]
    assert [as_kubernetes_reads(word) for word in arguments[-2:]] == [hostile, "--debug"]
    assert arguments[:4] == [
        "run", "--workdir=/scratch/run", "--keep=gs://b/runs/run1/workdir", "--python=python"
    ]  # fmt: skip
    assert "--config.checkpoint.directory=gs://b/runs/run1/checkpoints" in arguments
    assert "--distributed=on" in arguments


def test_kubectl_gets_the_manifest(machine):
    ended = machine.run("gke_jobset.sh", *FLAGS, "--type=v5e", "--topology=4x4", "--namespace=ml")
    assert ended.returncode == 0, ended.stderr
    assert machine.calls() == ["kubectl apply --filename=-"]
    applied = yaml.safe_load(machine.read("applied.yaml"))
    assert applied == rendered(machine, "--type=v5e", "--topology=4x4", "--namespace=ml")
    assert applied["metadata"]["namespace"] == "ml"
    assert "kubectl delete jobset run1 --namespace=ml" in ended.stderr


def test_the_template_is_yaml_as_it_stands():
    template = yaml.safe_load((ROOT / "launch" / "gke_jobset.yaml").read_text())
    assert template["metadata"]["name"] == "${NAME}"


def spelt(manifest):
    manifest["spec"]["failurePolicy"]["maxRestart"] = 3


def without_limits(manifest):
    del container_of(manifest)["resources"]["limits"]


def as_text(manifest):
    job_of(manifest)["completions"] = "4"


def other_action(manifest):
    manifest["spec"]["failurePolicy"]["rules"][0]["action"] = "Restart"


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (spelt, ".spec.failurePolicy: unknown field maxRestart"),
        (without_limits, "resources: limits is missing"),
        (as_text, "completions: expected integer, got '4'"),
        (other_action, "action: expected one of"),
    ],
)
def test_the_schema_refuses_what_the_cluster_would(machine, damage, complaint):
    manifest = copy.deepcopy(rendered(machine, "--type=v5e", "--topology=4x4"))
    damage(manifest)
    (found,) = violations(manifest, SCHEMA)
    assert complaint in found
