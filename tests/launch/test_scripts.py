"""What holds of every launch script: lint, help, dry runs as recorded, and errors for bad flags."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.launch.conftest import FAKES, ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "launch").glob("*.sh") if path.name != "common.sh")
EXPECTED = Path(__file__).parent / "expected"

POD = ("tpu_pod.sh", "--name=run1", "--zone=us-west4-a", "--bucket=gs://b",
       "--config=configs/demo.py")  # fmt: skip
GKE = ("gke_jobset.sh", "--name=run1", "--image=i", "--bucket=gs://b", "--config=configs/demo.py")
RUN = ("--config=configs/demo.py", "--workdir=runs/x")

DRY_RUNS = {
    "tpu_pod": (*POD, "--type=v5litepod-16", "--config.mesh.fsdp=16"),
    "tpu_pod_queued": (*POD, "--type=v6e-32", "--queued-resource", "--spot", "--project=p",
                       "--create-flags=--network=n --internal-ips", "--delete",
                       "--config.data.train.parquet.paths=('gs://b/*.parquet',)"),
    "gke_jobset": (*GKE, "--type=v5e", "--topology=4x4", "--spot"),
    "slurm_gpu": ("slurm_gpu.sh", *RUN, "--python=python3", "--config.mesh.fsdp=16"),
    "local_gpu": ("local_gpu.sh", *RUN, "--python=python3", "--gpus=0,1", "--", "--debug"),
}  # fmt: skip


def test_all_scripts_pass_shellcheck():
    # Installed by the extra `test`, beside the interpreter.
    shellcheck = shutil.which("shellcheck", path=Path(sys.executable).parent) or "shellcheck"
    fakes = [path for path in FAKES.iterdir() if path.read_text().startswith("#!/usr/bin/env bash")]
    scripts = sorted((ROOT / "launch").glob("*.sh"))
    assert len(scripts) == 7
    ended = subprocess.run(
        [shellcheck, "--external-sources", *scripts, *fakes],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_strict_and_can_be_run(script):
    path = ROOT / "launch" / script
    assert "\nset -euo pipefail\n" in path.read_text()
    assert path.stat().st_mode & 0o100


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "pack.sh"])
def test_help_names_every_flag(machine, script):
    ended = machine.run(script, "--help")
    assert ended.returncode == 0
    source = (ROOT / "launch" / script).read_text()
    flags = re.search(r'^parse_flags "((?:[^"]|\\\n)*)"\s+(?:\\\n\s+)?"([^"]*)"', source, re.M)
    for flag in (flags[1] + " " + flags[2]).replace("\\", " ").split():
        assert f"--{flag}" in ended.stdout, flag


@pytest.mark.parametrize("name", DRY_RUNS)
def test_a_dry_run_prints_the_commands_and_runs_none(machine, name):
    script, *arguments = DRY_RUNS[name]
    ended = machine.run(script, "--dry-run", *arguments)
    assert ended.returncode == 0, ended.stderr
    printed = ended.stdout.replace(str(ROOT), "REPOSITORY").replace(str(machine.directory), "TMP")
    assert printed == (EXPECTED / f"{name}.txt").read_text()
    assert machine.calls() == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tpu_pod.sh", "--nmae=x"), "--nmae: expected one of --name --zone --type"),
        ((*POD, "--type=v9-8"), "--type: expected v4-N, v5litepod-N, v5p-N or v6e-N, or --version "
                                "beside it; got 'v9-8'"),
        ((*POD, "--type=v6e-8", "--wait=soon"), "--wait: expected a whole number; got 'soon'"),
        ((*POD, "--type=v6e-8", "--spot=yes"), "--spot: expected no value; got 'yes'"),
        ((*POD, "--type=v6e-8", "--name"), "--name: expected a value, as in --name=VALUE; got"),
        ((*POD, "--type=v6e-8", "extra"), "arguments: expected flags as --name=value; got 'extra'"),
        ((*POD, "--type=v6e-8", "--bucket=b"), "--bucket: expected gs://BUCKET or"),
        ((*POD, "--type=v6e-8", "--name=Run_1"), "--name: expected small letters, digits and -"),
        (POD, "--type: expected a value, as it has no default; got ''"),
        ((*GKE, "--type=v7", "--topology=4x4"), "--type: expected v4, v5e, v5p or v6e; got 'v7'"),
        ((*GKE, "--type=v5e", "--topology=4"), "--topology: expected two sides, as 4x4; got '4'"),
        ((*GKE, "--type=v5p", "--topology=4x4"), "--topology: expected three sides, as 2x2x4"),
        ((*GKE, "--type=v5e", "--topology=1x2", "--chips-per-host=4"),
         "--chips-per-host: expected a divisor of the 2 chips of --topology=1x2; got '4'"),
        (("local_gpu.sh", *RUN, "--gpus=a"), "--gpus: expected numbers with commas between"),
        (("local_gpu.sh", *RUN, "--memory=1.5"), "--memory: expected a number between 0 and 1"),
        (("local_gpu.sh", "--config=/tmp/x.py", "--workdir=x"), "--config: expected a file below"),
        (("slurm_gpu.sh", *RUN, "--max-requeues=-1"), "--max-requeues: expected a whole number"),
        (("slurm_gpu.sh", "--config=configs/demo.py"), "--workdir: expected a value"),
        (("worker.sh", "rnu"), "action: expected run, start, follow, state, report or stop;"),
        (("worker.sh", "run", "--workdir=x"), "--: expected a command after it; got ''"),
        (("pack.sh", "x"), "FILE: expected one name that ends in .tar.gz; got 'x'"),
    ],
)  # fmt: skip
def test_a_bad_flag_is_named_with_what_was_expected_and_what_came(machine, arguments, complaint):
    script, *flags = arguments
    ended = machine.run(script, *flags)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"launch/{script}: ")
    assert complaint in line
    assert machine.calls() == []


def test_the_dockerfile_copies_what_exists_and_installs_extras_that_exist():
    text = (ROOT / "launch" / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert {"perl_jax", "configs", "launch", "pyproject.toml", "requirements.txt"} <= set(sources)
    ignored = (ROOT / "launch" / "Dockerfile.dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, f"{source} is not sent to the builder"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (installed,) = re.findall(r"pip install \"\.\[(.*)\]\"", text)
    for accelerator in re.findall(r"--build-arg=ACCELERATOR=(\S+)", text):
        names = installed.replace("${ACCELERATOR}", accelerator).split(",")
        assert set(names) <= set(extras), names
    assert extras["cuda"] == ["jax[cuda13]"], "MIN_DRIVER of launch/local_gpu.sh is for CUDA 13"
