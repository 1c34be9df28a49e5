"""Every shipped configuration of a run is read and checked, starts, and makes a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perl_jax import check
from perl_jax.models import opening
from perl_jax.training.display.writers import read_metrics
from tests.configurations import Places, configurations, devices, is_trained, shrunk
from tests.graders import kept_graders
from tests.training.resuming import environment

ROOT = Path(__file__).parents[1]
NAMES = configurations()
# One on a mesh with rollouts on another, the published run, supervised training, and one of the
# second family.
STORIES = ("qwen2_5_vl_3b_v5e16", "qwen2_5_vl_7b_perl", "tiny_warmstart", "qwen3_vl_4b_v5e16")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return Places.make(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def graders():
    with kept_graders() as make:
        yield make


def test_all_files_are_configurations_of_a_run_but_that_of_prepare():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert set(NAMES) == files - {"prepare_mantis"}
    assert set(STORIES) < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_start_has_no_fault(name, places, graders, tmp_path, capfd, monkeypatch):
    def read(*arguments, **settings):
        raise AssertionError("the weights were read")

    monkeypatch.setattr(opening, "load_model", read)
    monkeypatch.setattr(check, "make_grader", graders)
    place = f"--config.checkpoint.directory={tmp_path}/checkpoints"
    assert check.main([f"--config=configs/{name}.py", place, *shrunk(name, places)]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=getattr(pytest.mark, "story" if name in STORIES else "soak"))
     for name in NAMES],
)  # fmt: skip
def test_it_starts_and_makes_a_step(name, places, tmp_path):
    command = "train" if is_trained(name) else "warmstart"
    # As a launcher starts it, from the top of the repository.
    done = subprocess.run(
        [
            sys.executable, "-m", f"perl_jax.{command}", f"--config=configs/{name}.py",
            f"--workdir={tmp_path}/run", f"--config.checkpoint.directory={tmp_path}/checkpoints",
            *shrunk(name, places),
        ],
        cwd=ROOT, env=_environment(devices(name)), capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")][-1] == 1
    assert json.loads((run / "summary.json").read_text())["steps"] == 1
    assert (tmp_path / "checkpoints" / "1").is_dir()
    assert (run / "export" / "config.json").is_file()


def _environment(count):
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    variables = environment(cache)
    flags = f"{variables['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    return variables | {"XLA_FLAGS": flags}
