"""The package as it is installed: built as a wheel, and used away from a checkout."""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.compiling import QUICKLY

ROOT = Path(__file__).parent.parent
BUILT_FROM = ("perl_jax", "configs", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
pytestmark = pytest.mark.story


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        more = {"symlinks": True} if copy is shutil.copytree else {}
        copy(ROOT / name, tree / name, **more)
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", out, tree)
    (built,) = out.glob("perl_jax-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin directory of an environment with the wheel, which sees this one's packages."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    (packages,) = home.glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel)
    # Behind its own packages: perl_jax is the one of the wheel, whatever is installed here.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return home / "bin"


def test_the_wheel_holds_every_configuration_and_nothing_outside_the_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {f"perl_jax/assets/configs/{file.name}" for file in ROOT.glob("configs/*.py")}
    assert shipped <= set(names)
    assert not [name for name in names if not name.startswith(("perl_jax/", "perl_jax-"))]


def test_the_installed_command_runs_the_demo_without_a_checkout(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    away = {"cwd": tmp_path, "env": environment}
    python, command = installed / "python", installed / "perl-jax"
    where = run(python, "-c", "import perl_jax; print(perl_jax.__file__)", **away)
    assert where.stdout.startswith(str(installed.parent))
    assert "train      train a policy" in run(command, "--help", **away).stdout
    printed = run(command, "train", "--config=qwen2_5_vl_3b_v5e16", "--print_config", **away)
    assert "'fsdp': 16," in printed.stdout
    small = ("rollout.groups=2", "learner.packing.micro_groups=2", "evaluation.examples=2",
             "evaluation.num_orders=0", "reward.deadline=60", "filtering.enabled=false",
             "optimizer.warmup_updates=0", "steps=1")  # fmt: skip
    flags = [f"--config.{flag}" for flag in small]
    # The tests' eight virtual devices; the demo wants one.
    away["env"] = environment | {"XLA_FLAGS": QUICKLY}
    run(command, "train", "--config=demo", "--workdir=run", *flags, **away)
    assert (tmp_path / "run" / "summary.json").is_file()
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
