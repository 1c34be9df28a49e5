"""What a run hands from one of its parts to the next; the parts are scripted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from perl_jax import runs
from perl_jax.compilation import CompilationConfig
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.settings import read_config
from tests.data.pipeline.numbers import Numbers
from tests.update.real_runs import POLICY

GIVEN = {
    "model": {"path": str(POLICY)},
    "data": {"train": {"digits": {"rows": 8}}},
    "steps": 2,
    "compilation": {"cache": "/programs"},
    "logging": {"console": False, "rollouts": {"images": False}},
}
FITTED = (777, 9999)


class Reached(Exception):
    """Ends a run where the test has seen enough."""


@pytest.fixture
def told(monkeypatch):
    """The parts that a run asked for, in order, each with what it was given."""
    calls = []
    rows = SimpleNamespace(source=Numbers(3))

    def scripted(name, result=None):
        def call(*given):
            calls.append((name, given))
            return result(*given) if callable(result) else result

        monkeypatch.setattr(runs, name, call)

    def fit(config, given):
        packing = replace(config.learner.packing, prompt_lengths=FITTED)
        return replace(config, learner=replace(config.learner, packing=packing))

    processor = SimpleNamespace(banned_rows=lambda size: f"banned of {size}")
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=9))
    scripted("use_cache")
    scripted("make_grader", lambda reward: SimpleNamespace(close=lambda: None))
    scripted("open_rows", lambda config: rows)
    scripted("fit_ladders", fit)
    scripted("check_ready")
    scripted("open_parts", lambda *given: SimpleNamespace(
        model=model, processor=processor, mesh=None, rows=rows, sampler=None,
    ))  # fmt: skip
    return calls


def given_to(told, name):
    (given,) = (given for called, given in told if called == name)
    return given


def ladder(config):
    return config.learner.packing.prompt_lengths


@pytest.mark.parametrize(
    ("kind", "start", "learner"),
    [
        (TrainConfig, runs.train, "make_learner"),
        (WarmstartConfig, runs.warmstart, "Learner"),
    ],
)
def test_fitted_ladders_reach_the_checks_the_parts_and_the_learner(
    kind, start, learner, told, tmp_path, monkeypatch
):
    def make_learner(*given, **settings):
        told.append((learner, (*given, settings)))
        raise Reached

    monkeypatch.setattr(runs, learner, make_learner)
    config = read_config(kind, GIVEN)
    with pytest.raises(Reached):
        start(config, tmp_path / "run")
    # The cache comes before the first program, and the checks before the weights.
    names = [name for name, _ in told]
    assert names.index("use_cache") == 0
    assert names.index("fit_ladders") < names.index("check_ready") < names.index("open_parts")
    assert given_to(told, "use_cache") == (CompilationConfig(cache="/programs"),)
    assert ladder(given_to(told, "fit_ladders")[0]) == "auto"
    for part in ("check_ready", "open_parts"):
        assert ladder(given_to(told, part)[0]) == FITTED
    given = given_to(told, learner)
    fitted = given[0].learner if kind is TrainConfig else given[-1]["config"]
    assert fitted.packing.prompt_lengths == FITTED


def test_a_run_that_is_not_ready_opens_no_parts(told, tmp_path, monkeypatch):
    def refuse(*given):
        raise ValueError("not ready")

    monkeypatch.setattr(runs, "check_ready", refuse)
    with pytest.raises(ValueError, match="not ready"):
        runs.train(read_config(TrainConfig, GIVEN), tmp_path / "run")
    assert "open_parts" not in [name for name, _ in told]
