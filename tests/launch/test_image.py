"""launch/Dockerfile without docker: its steps in a clean folder, and what the image then runs."""

import json
import os
import shlex
import subprocess
import sys
import sysconfig

import pytest

from tests.compiling import QUICKLY
from tests.launch.conftest import ROOT
from tests.launch.image import copy, instructions, reaches_docker

STEP = (
    "--config=configs/demo.py", "--config.steps=1", "--config.data.held_out=None",
    "--config.rollout.groups=2", "--config.rollout.num_rollouts=2",
    "--config.rollout.max_new_tokens=16", "--config.learner.packing.micro_groups=2",
    "--config.filtering.enabled=False", "--config.logging.tensorboard=False",
    "--config.optimizer.warmup_updates=0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("perl_jax/train.py", True),
        ("perl_jax/__pycache__/train.pyc", False),
        ("launch/worker.sh", True),
        ("pyproject.toml", True),
        ("tests/bucket.py", False),
        (".git/config", False),
        ("runs/demo/config.json", False),
    ],
)
def test_the_builder_gets_the_code_and_no_more(path, kept):
    assert reaches_docker(path) is kept


def test_a_copied_folder_is_whole_and_files_keep_their_names(tmp_path):
    for instruction in instructions():
        if instruction.name == "COPY":
            copy(instruction.rest, tmp_path)
    assert (tmp_path / "pyproject.toml").is_file()
    assert (tmp_path / "launch" / "worker.sh").stat().st_mode & 0o100
    listed = subprocess.run(
        ["git", "ls-files", "perl_jax", "configs", "launch"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert [
        name for name in listed if (ROOT / name).is_file() and not (tmp_path / name).is_file()
    ] == []


class Image:
    """The folder and the environment that the Dockerfile's steps make.

    Docker's base image is a new environment of this Python. The chips' extra (jax[tpu] or
    jax[cuda13], gigabytes) is left out of the install line.
    """

    def __init__(self, place, downloads):
        self.folder = place / "image"
        self.folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        self.variables = {
            "PATH": f"{place / 'venv' / 'bin'}:/usr/bin:/bin",
            "HOME": str(place),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"],
            "XLA_FLAGS": QUICKLY,
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        }
        if not downloads:
            self._borrow(place)
        self.command = []
        for instruction in instructions():
            self._take(instruction)

    def _borrow(self, place):
        """What the tests have installed counts as installed, so that pip only compares."""
        (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
        (packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
        # Wheels are built with the tests' setuptools: 0 is how pip wants to be told.
        self.run("pip", "uninstall", "--yes", "setuptools")
        self.variables["PIP_NO_BUILD_ISOLATION"] = "0"

    def _take(self, instruction):
        match instruction.name:
            case "COPY":
                copy(instruction.rest, self.folder)
            case "RUN":
                self.run("bash", "-c", instruction.rest.replace("${ACCELERATOR},", ""))
            case "ENV":
                pairs = (word.split("=", 1) for word in shlex.split(instruction.rest))
                self.variables |= dict(pairs)
            case "CMD":
                self.command = json.loads(instruction.rest)
            case "WORKDIR" | "ARG" | "FROM":
                pass
            case other:
                raise AssertionError(f"the Dockerfile has an instruction unknown here: {other}")

    def run(self, *command):
        ended = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.mark.parametrize(
    "downloads",
    [
        pytest.param(False, marks=pytest.mark.story, id="borrowed"),
        pytest.param(True, marks=pytest.mark.soak, id="downloaded"),
    ],
)
def test_the_steps_of_the_dockerfile_make_an_image_that_trains(tmp_path, downloads):
    image = Image(tmp_path, downloads)
    assert "perl-jax train --config=demo" in image.run(*image.command)
    where = image.run("bash", "-c", "cd / && python -c 'import perl_jax; print(perl_jax.__file__)'")
    assert where.strip() == str(image.folder / "perl_jax" / "__init__.py")
    image.run("python", "-m", "perl_jax.train", *STEP, "--workdir=runs/x")
    assert (image.folder / "runs" / "x" / "summary.json").is_file()
    assert "usage: launch/worker.sh" in image.run("bash", "launch/worker.sh", "--help")
