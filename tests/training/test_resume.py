"""A run that is killed, stopped or refused, and goes on, is bit by bit the run that never was.

Runs are those of ``python -m perl_jax.train`` in processes of their own. Two are killed here, and
two parts of the state forgotten; in a soak ten are killed, and everything is forgotten in turn:

    PERL_JAX_FUZZ=soak PERL_JAX_KILL_SEED=1 pytest -n 0 -rP tests/training/test_resume.py

shows what each was doing when it died.
"""

import os
import signal
import subprocess
import sys

import pytest

from tests.fuzz.fuzzing import PROFILE, cases
from tests.soak.disk import SmallDisk, why_none
from tests.training.resume_program import MUTANTS
from tests.training.resume_rewards import BROKEN
from tests.training.resuming import CONFIG, ROOT, Run, differences, environment, moments
from tests.update.real_runs import QWEN3_POLICY

KILLS = cases(quick=2, soak=10)
SEED = int(os.environ.get("PERL_JAX_KILL_SEED", "0"))
STEPS = 4
STOPPED_AFTER = 2
NEXT = f"step {STOPPED_AFTER + 1}"

# What is forgotten, where that shows, and where it does not.
CASES = [
    ("data", {f"{NEXT}: id", "data", "params"}, {"key"}),
    ("key", {"key", f"{NEXT}: tokens_sha256", "params"}, set()),
    ("read ahead", {f"{NEXT}: id", "data", "params"}, {"key"}),
    ("optimizer", {"optimizer", "params"}, {"key", f"{NEXT}: tokens_sha256"}),
    ("reference", {"params", f"{NEXT}: policy/kl"}, {"key", f"{NEXT}: tokens_sha256"}),
]
CHOSEN = list(MUTANTS) if PROFILE == "soak" else ["nothing", "data", "key"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def variables(place):
    return environment(place / "compiled")


@pytest.fixture(scope="module")
def reference(place, variables):
    """The work directory of a run that nothing happened to."""
    run = Run(place / "reference", variables)
    run.finish()
    return run.workdir


@pytest.fixture(scope="module")
def stopped(place, variables, reference):
    """A run that was told twice to stop: in a step, and while it saved because of that."""
    run = Run(place / "stopped", variables, told=place / "stopped.told")
    run.until(lambda: run.has_reached(STOPPED_AFTER, "rollout"))
    # It stands still in the middle of a step, and has the directory.
    run.signal(signal.SIGSTOP)
    second = Run(place / "second", variables, f"--workdir={run.workdir}")
    second.process.wait()
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGCONT)
    run.until(lambda: run.has_reached(STOPPED_AFTER, "save"))
    run.signal(signal.SIGTERM)
    run.finish()
    return run, second


@pytest.mark.story
@pytest.mark.reliability("F1", "F2", "F14")
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(place, variables, reference):
    workdir = place / "killed"
    for number, moment in enumerate(moments(KILLS, STEPS, SEED)):
        # Every other time a worker process reads the rows, and none in the reference.
        workers = f"--config.data.pipeline.workers={(number + 1) % 2}"
        run = Run(workdir, variables, workers, told=place / "killed.told")
        print(f"{moment}: killed in {moment.strike(run)}")
    Run(workdir, variables).finish()
    assert differences(reference, workdir) == []


# tests/test_adapter_runs.py shows the same of what such a kill leaves on the disk.
@pytest.mark.soak
@pytest.mark.parametrize("kind", ["another_family", "adapters"])
def test_a_run_of_another_kind_killed_in_a_step_ends_as_one_that_was_not(kind, place, variables):
    kinds = {
        "another_family": f"--config.model.path={QWEN3_POLICY}",
        "adapters": "--config.learner.lora.rank=4",
    }
    flags = (
        kinds[kind],
        "--config.steps=2",
        "--config.optimizer.warmup_updates=0",
        "--config.data.held_out=None",
    )
    whole = Run(place / f"whole_{kind}", variables, *flags)
    whole.finish()
    run = Run(place / f"cut_{kind}", variables, *flags, told=place / f"cut_{kind}.told")
    first = run.workdir / "checkpoints" / "1"
    # The save of the first step goes on beside the second.
    run.until(lambda: run.has_reached(2, "update") and first.exists())
    run.kill()
    Run(run.workdir, variables, *flags).finish()
    assert differences(whole.workdir, run.workdir) == []


@pytest.mark.story
@pytest.mark.reliability("F4")
def test_a_run_whose_disk_is_full_says_so_and_ends_as_one_that_had_room(
    place, variables, reference
):
    if why := why_none(place / "probe"):
        pytest.skip(why)
    workdir = place / "short_of_disk"
    disk = SmallDisk(workdir, megabytes=128)
    run = Run(workdir, variables, told=place / "short_of_disk.told")
    run.until(lambda: run.has_reached(STOPPED_AFTER, "update"))
    disk.fill()
    assert run.process.wait() == 1
    disk.empty()
    *_, line = run.output.read_text().splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line
    Run(workdir, variables).finish()
    assert differences(reference, workdir) == []
    disk.close()


# The run whose disk is full ends and goes on in the same way; test_user_functions.py shows what the
# error of a reward says, and test_many_hosts.py shows it on two hosts.
@pytest.mark.soak
@pytest.mark.reliability("F23")
def test_a_run_whose_reward_raises_says_so_and_ends_as_one_whose_reward_did_not(
    place, variables, reference
):
    broken = place / "broken"
    variables = {**variables, BROKEN: str(broken)}
    flags = (
        "--config.reward.functions.mine=tests.training.resume_rewards:mine",
        "--config.reward.weights={'accuracy': 0.9, 'format': 0.1, 'mine': 0.0}",
        "--config.reward.max_failed=0",
    )
    run = Run(place / "raising", variables, *flags, told=place / "raising.told")
    run.until(lambda: run.has_reached(STOPPED_AFTER, "update"))
    broken.touch()
    assert run.process.wait() == 1
    broken.unlink()
    *_, line = run.output.read_text().splitlines()
    assert line.startswith("error: reward.functions.mine (tests.training.resume_rewards:mine): ")
    assert "raised RuntimeError('the reward is out of order')" in line
    Run(run.workdir, variables, *flags).finish()
    # The reward has a metric of its own, and a value beside the others of a response; its weight is
    # 0, so that what is learnt is the same.
    assert {name.partition(": ")[2] for name in differences(reference, run.workdir)} <= {
        "reward/mine",
        "rewards",
    }


@pytest.mark.story
def test_a_run_told_to_stop_saves_and_says_so(stopped):
    run, _ = stopped
    message = f"stopped as asked after step {STOPPED_AFTER}; the same command goes on from there"
    assert message in run.output.read_text().splitlines()


@pytest.mark.story
@pytest.mark.reliability("F15")
def test_a_second_job_in_a_work_directory_is_refused(stopped):
    run, second = stopped
    assert second.process.returncode == 1
    (line,) = second.output.read_text().splitlines()
    assert line.startswith(f"error: workdir {run.workdir}: in use by process {run.process.pid} on ")


@pytest.fixture(scope="module")
def mutants(place, variables, stopped):
    run, _ = stopped
    command = [sys.executable, "-m", "tests.training.resume_program", "forget"]
    given = [run.workdir, place / "mutants", ",".join(CHOSEN)]
    flags = [f"--config={CONFIG}", f"--workdir={place / 'unused'}"]
    subprocess.run([*command, *given, *flags], cwd=ROOT, env=variables, check=True)
    return place / "mutants"


@pytest.mark.story
@pytest.mark.parametrize(
    ("mutant", "found", "not_found"),
    [case for case in CASES if case[0] in CHOSEN],
)
def test_the_comparison_notices_what_a_resumed_run_forgets(
    mutants, reference, mutant, found, not_found
):
    seen = set(differences(reference, mutants / mutant))
    assert seen >= found
    assert not seen & not_found


@pytest.mark.story
@pytest.mark.reliability("F17")
def test_a_run_that_was_told_to_stop_goes_on_as_if_it_had_not(mutants, reference):
    assert set(CHOSEN) == {file.name for file in mutants.iterdir() if file.is_dir()}
    assert differences(reference, mutants / "nothing") == []
