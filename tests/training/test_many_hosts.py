"""One run on one device, on a mesh of eight, and on two hosts: the same numbers, however it ends.

Runs are those of ``python -m perl_jax.train`` in processes of their own. Two meshes are tried here;
every kind, and four hosts, by

    PERL_JAX_MESHES=all pytest -n 0 -rP tests/training/test_many_hosts.py
"""

import json
import os
import shutil
import signal

import pytest

from tests.training.many_hosts import Hosts, furthest_metric, rows
from tests.training.resume_config import POLICY
from tests.training.resuming import environment

pytestmark = pytest.mark.story

ALL = os.environ.get("PERL_JAX_MESHES") == "all"
STEPS = 5 if ALL else 3
# data, fsdp, tensor, and the number of hosts.
TWO_HOSTS = (1, 2, 2, 2)
LAYOUTS = [(2, 2, 2, 1), TWO_HOSTS]
if ALL:
    LAYOUTS += [
        (8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (4, 1, 2, 1), (1, 4, 2, 1), (2, 4, 1, 1),
        (4, 1, 1, 2), (1, 4, 1, 4), (2, 2, 2, 4),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def variables(place):
    return environment(place / "compiled")


@pytest.fixture(scope="module")
def alone(place, variables):
    """The work directory of the run on one device."""
    run = Hosts(place / "alone", variables, (1, 1, 1), 1, f"--config.steps={STEPS}")
    run.finish()
    return run.workdir


@pytest.fixture(scope="module")
def layouts(place, variables):
    """The work directory of the run on every layout."""
    workdirs = {}
    for layout in LAYOUTS:
        *mesh, count = layout
        workdir = place / "-".join(map(str, layout))
        run = Hosts(workdir, variables, tuple(mesh), count, f"--config.steps={STEPS}")
        run.finish()
        workdirs[layout] = workdir
    return workdirs


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rollouts_are_the_same_token_for_token_on_every_layout(alone, layouts, layout):
    assert rows(layouts[layout], "rollouts.jsonl") == rows(alone, "rollouts.jsonl")
    steps = {row["step"] for row in rows(alone, "rollouts.jsonl")}
    assert steps == set(range(1, STEPS + 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_picture_of_the_log_is_kept_whichever_host_had_it(layouts, layout):
    shown = {name for row in rows(layouts[layout], "rollouts.jsonl") for name in row["images"]}
    assert {file.stem for file in (layouts[layout] / "images").iterdir()} == shown != set()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metrics_are_the_same_but_for_rounding_on_every_layout(alone, layouts, layout):
    gap, where = furthest_metric(alone, layouts[layout])
    print(f"{layout}: {gap:.1e} at {where}")
    assert gap < 1e-5, where


@pytest.fixture(scope="module")
def killed(place, variables):
    """Two hosts, the second of which is killed after the first step was saved."""
    run = Hosts(place / "killed", variables, TWO_HOSTS[:3], 2, f"--config.steps={STEPS}")
    run.until((run.workdir / "checkpoints" / "1" / "_CHECKPOINT_METADATA").exists)
    run.signal(1, signal.SIGKILL)
    return run, run.end()


@pytest.mark.reliability("F27")
def test_a_host_that_is_killed_ends_the_other(killed):
    run, statuses = killed
    assert statuses[1] == -signal.SIGKILL
    assert statuses[0] not in (0, -signal.SIGKILL)
    # The moment of the kill decides how the other hears of it: from the coordinator, which ends it,
    # or within a collective, as an error that it tells in its last line.
    said = run.said()[0]
    by_the_coordinator = "The following tasks are unhealthy" in said
    last = said.splitlines()[-1]
    in_a_collective = last.startswith("error: host 0 (") and "Connection closed by peer" in last
    assert by_the_coordinator or in_a_collective, said


def test_the_same_command_goes_on_bit_by_bit_after_a_host_was_killed(
    killed, layouts, variables, place
):
    again = Hosts(place / "killed", variables, TWO_HOSTS[:3], 2, f"--config.steps={STEPS}")
    again.finish()
    assert rows(again.workdir, "rollouts.jsonl") == rows(layouts[TWO_HOSTS], "rollouts.jsonl")
    assert furthest_metric(again.workdir, layouts[TWO_HOSTS])[0] == 0
    models = [w / "export" / "model.safetensors" for w in (again.workdir, layouts[TWO_HOSTS])]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.reliability("F16")
def test_a_host_alone_goes_on_where_two_were_told_to_stop(place, variables, alone):
    run = Hosts(place / "stopped", variables, TWO_HOSTS[:3], 2, f"--config.steps={STEPS}")
    log = run.workdir / "rollouts.jsonl"
    run.until(lambda: log.exists() and log.stat().st_size > 0)
    # The second hears of it, and both stop after the step.
    run.signal(1, signal.SIGTERM)
    said = run.finish()
    steps = rows(run.workdir, "rollouts.jsonl")[-1]["step"]
    assert f"stopped as asked after step {steps};" in said[0]
    assert steps < STEPS
    Hosts(run.workdir, variables, (1, 1, 1), 1, f"--config.steps={STEPS}").finish()
    assert rows(run.workdir, "rollouts.jsonl") == rows(alone, "rollouts.jsonl")
    assert furthest_metric(run.workdir, alone)[0] < 1e-5


@pytest.mark.reliability("F31")
def test_a_host_with_another_configuration_is_refused_by_all(place, variables):
    run = Hosts(
        place / "differing", variables, TWO_HOSTS[:3], 2, flags_of_last=("--config.seed=4",)
    )
    assert run.end() == [1, 1]
    for said in run.said():
        assert "what the hosts run: seed: expected the same on all hosts" in said


@pytest.mark.reliability("F32")
def test_a_host_whose_images_have_other_sizes_is_refused_by_all(place, variables):
    """Its arrays would have other shapes, which collectives take without an error."""
    other = shutil.copytree(POLICY, place / "other_sizes")
    file = other / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "min_pixels": 4 * settings["min_pixels"]}))
    run = Hosts(
        place / "other_shapes", variables, TWO_HOSTS[:3], 2,
        # Room for the larger ones, which the start would refuse otherwise.
        "--config.learner.packing.patches=(4096,)", "--config.rollout.sampler.patches=(8192,)",
        flags_of_last=(f"--config.model.path={other}",),
    )  # fmt: skip
    assert run.end() == [1, 1]
    for said in run.said():
        assert "what the hosts run: model: expected the same on all hosts" in said


@pytest.mark.reliability("F28")
def test_a_reward_that_fails_on_one_host_ends_all_of_them(place, variables):
    function = "--config.reward.functions.mine=tests.training.hosts_config:{}".format
    weights = "--config.reward.weights={'mine': 1.0}"
    hosts = (place / "fragile", variables, TWO_HOSTS[:3], 2)
    run = Hosts(*hosts, weights, function("sound"), flags_of_last=(function("broken"),))
    assert run.end() == [1, 1]
    for said in run.said():
        assert "hosts_config:broken: raised RuntimeError('the reward of host 1 is out" in said
