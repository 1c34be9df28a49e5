"""A run that was over when its process died is over when it is started again."""

from types import SimpleNamespace

import pytest

from perl_jax.training.loop import EarlyStop, Loop, Progression


class Untouched:
    """A stepper that must not step."""

    learner = None

    def start(self, state):
        self.started = state

    def step(self, number, state):
        raise AssertionError(f"step {number} was made")


def loop(steps, early_stop):
    return Loop(
        stepper=Untouched(),
        checkpoints=SimpleNamespace(wait=lambda: None),
        writer=None,
        progress=None,
        preemption=None,
        steps=steps,
        evaluate=None,
        evaluate_every=1,
        early_stop=early_stop,
        record=None,
        max_skipped=1,
        max_logprob_gap=None,
    )


@pytest.mark.parametrize(
    ("step", "early_stop"),
    [
        (6, EarlyStop()),
        (3, EarlyStop(accuracy=0.8)),
        (3, EarlyStop(patience=2)),
    ],
)
def test_no_step_is_made_after_the_last_one(step, early_stop):
    progression = Progression(best=0.9, since_best=2, evaluated=step)
    outcome = loop(6, early_stop).run("state", step, progression)
    assert (outcome.step, outcome.finished, outcome.state) == (step, True, "state")


@pytest.mark.parametrize("early_stop", [EarlyStop(accuracy=0.95), EarlyStop(patience=3)])
def test_a_run_that_was_not_over_goes_on(early_stop):
    progression = Progression(best=0.9, since_best=2, evaluated=3)
    with pytest.raises(AssertionError, match="step 3 was made"):
        loop(6, early_stop).run("state", 3, progression)
