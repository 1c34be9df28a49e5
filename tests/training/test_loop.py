"""The loop of a run, of scripted parts: what it logs, saves and evaluates, and when it ends."""

import jax
import numpy as np
import pytest

from perl_jax.training import loop
from perl_jax.training.loop import EarlyStop, Progression
from tests.training.scripted import Scripted, Stepper, number_of, state_of


def run(scripted, *, step=0, progression=None, **changes):
    loop = scripted.loop(**changes)
    return loop.run(state_of(step), step, progression or Progression())


# Steps.


def test_steps_are_done_in_turn_and_their_records_are_numbered_from_1():
    scripted = Scripted()
    outcome = run(scripted)
    assert scripted.stepper.steps == [0, 1, 2, 3]
    assert scripted.recorded == [1, 2, 3, 4]
    assert (outcome.step, outcome.finished, number_of(outcome.state)) == (4, True, 4)


def test_a_run_goes_on_where_it_stopped():
    scripted = Scripted()
    run(scripted, step=3)
    assert scripted.stepper.steps == [3]


def test_a_step_is_logged_with_what_the_update_says_by_the_same_names():
    stats = {"policy/loss": 0.5, "optimizer/grad_norm": 2.0, "tokens": 64.0}
    scripted = Scripted(Stepper({0: stats}))
    run(scripted, steps=1)
    row = scripted.rows[1]
    assert (row["policy/loss"], row["optimizer/grad_norm"], row["reward/mean"]) == (0.5, 2.0, 0.5)
    assert "tokens" not in row
    assert row["perf/tokens_per_second"] == pytest.approx(10 / row["perf/step_seconds"])
    assert row["perf/update_seconds"] == row["perf/step_seconds"]


def test_the_time_of_a_run_adds_up_over_its_parts():
    scripted = Scripted()
    outcome = run(scripted, step=2, progression=Progression(seconds=100.0))
    own = sum(row["perf/step_seconds"] for row in scripted.rows.values())
    assert outcome.progression.seconds == pytest.approx(100 + own)


# Evaluations and checkpoints.


def test_policies_are_evaluated_before_the_first_step_after_every_second_and_at_the_end():
    scripted = Scripted(accuracies=[0.25, 0.5, 0.75])
    outcome = run(scripted, steps=3)
    assert scripted.evaluated == ["policy 0", "policy 2", "policy 3"]
    found = {step: row.get("eval/accuracy") for step, row in scripted.rows.items()}
    assert found == {0: 0.25, 1: None, 2: 0.5, 3: 0.75}
    # What an evaluation finds stands in the row of its step.
    assert scripted.rows[2]["reward/mean"] == 0.5
    assert outcome.progression.before == {"accuracy": 0.25}
    assert outcome.progression.after == {"accuracy": 0.75}


def test_a_run_that_goes_on_is_not_evaluated_before_its_first_step_again():
    scripted = Scripted(accuracies=[0.5])
    before = Progression(before={"accuracy": 0.25}, after={"accuracy": 0.25}, evaluated=0)
    outcome = run(scripted, step=2, progression=before)
    assert scripted.evaluated == ["policy 4"]
    assert outcome.progression.before == {"accuracy": 0.25}


def test_an_evaluation_that_a_run_gets_later_begins_where_the_run_is():
    scripted = Scripted(accuracies=[0.25, 0.5])
    outcome = run(scripted, step=2)
    assert scripted.evaluated == ["policy 2", "policy 4"]
    assert scripted.rows[2] == {"eval/accuracy": 0.25, **timed(scripted.rows[2])}
    assert outcome.progression.before == {"accuracy": 0.25}
    # The checkpoint of step 2 was there before its evaluation.
    assert scripted.saved.metrics == {3: None, 4: 0.5}


def timed(row):
    return {name: value for name, value in row.items() if name.startswith("perf/")}


def test_a_run_that_had_ended_early_goes_on_when_it_may():
    done = Progression(best=0.9, since_best=2, evaluated=2)
    scripted = Scripted(accuracies=[0.5])
    outcome = run(scripted, step=2, progression=done, early_stop=EarlyStop(patience=4))
    assert (outcome.step, scripted.stepper.steps) == (4, [2, 3])


def test_a_checkpoint_has_the_accuracy_of_its_own_evaluation():
    """Another one's, such as the last before it, would make it the best of a run by mistake."""
    scripted = Scripted(accuracies=[0.25, 0.75, 0.5])
    run(scripted)
    assert scripted.saved.metrics == {1: None, 2: 0.75, 3: None, 4: 0.5}


def test_the_best_accuracy_and_the_evaluations_since_are_remembered():
    scripted = Scripted(accuracies=[0.25, 0.75, 0.5, 0.75])
    run(scripted, evaluate_every=1, steps=3)
    saved = [host["progression"] for host in scripted.saved.hosts.values()]
    assert [(one["best"], one["since_best"]) for one in saved] == [(0.75, 0), (0.75, 1), (0.75, 2)]
    assert [one["evaluated"] for one in saved] == [1, 2, 3]


def test_an_evaluation_without_grades_is_told_and_does_not_count(caplog):
    scripted = Scripted(accuracies=[None, 0.5, None, None, 0.75])
    outcome = run(scripted, evaluate_every=1, early_stop=EarlyStop(patience=1))
    assert (outcome.step, outcome.progression.best) == (4, 0.75)
    assert scripted.saved.metrics == {1: 0.5, 2: None, 3: None, 4: 0.75}
    assert outcome.progression.before == {}
    told = [line for line in caplog.messages if "no held-out answer could be graded" in line]
    assert [line.partition(":")[0] for line in told] == ["step 0", "step 2", "step 3"]


def test_the_last_step_is_saved_whether_it_is_due_or_not():
    scripted = Scripted()
    run(scripted)
    assert (scripted.saved.steps, scripted.saved.forced) == ([1, 2, 3, 4], [4])
    assert scripted.saved.hosts[3]["stepper"] == {"data": 3}
    assert scripted.saved.waited == 1


# Ends.


def test_freed_memory_is_given_back_after_each_save(monkeypatch):
    given = []
    monkeypatch.setattr(loop, "give_back_memory", lambda: given.append(True))
    scripted = Scripted()
    run(scripted)
    assert len(given) == len(scripted.saved.steps) == 4


def test_a_run_that_is_asked_to_stop_saves_the_step_that_it_was_in():
    scripted = Scripted(stopped_after=2)
    outcome = run(scripted)
    assert (outcome.step, outcome.finished) == (2, False)
    assert (scripted.saved.forced, scripted.saved.waited) == ([2], 1)


@pytest.mark.parametrize(
    ("early_stop", "accuracies", "steps"),
    [
        (EarlyStop(accuracy=0.75), [0.0, 0.5, 0.75], 2),
        (EarlyStop(accuracy=0.76), [0.0, 0.5, 0.75, 0.75, 0.75], 4),
        (EarlyStop(patience=1), [0.5, 0.75, 0.75], 2),
        (EarlyStop(patience=2), [0.5, 0.75, 0.5, 0.25], 3),
        (EarlyStop(patience=2), [0.5, 0.25, 0.75, 0.5, 0.8], 4),
    ],
)
def test_a_run_ends_early_when_it_is_good_enough_or_gets_no_better(early_stop, accuracies, steps):
    scripted = Scripted(accuracies=accuracies)
    outcome = run(scripted, early_stop=early_stop, evaluate_every=1)
    assert (outcome.step, outcome.finished) == (steps, True)
    assert scripted.saved.forced == [steps]


@pytest.mark.reliability("F19")
def test_a_run_that_had_ended_early_takes_no_further_step():
    done = Progression(after={"accuracy": 0.9}, best=0.9, evaluated=2)
    scripted = Scripted(accuracies=[])
    outcome = run(scripted, step=2, progression=done, early_stop=EarlyStop(accuracy=0.8))
    assert (outcome.step, outcome.finished, scripted.stepper.steps) == (2, True, [])


@pytest.mark.reliability("F38", "F39")
def test_a_run_fails_when_the_updates_skipped_in_a_row_reach_max_skipped():
    scripted = Scripted(Stepper(skipped={0: 1, 1: 2, 2: 3}))
    with pytest.raises(FloatingPointError, match="step 3: 3 updates in a row were not finite"):
        run(scripted, max_skipped=3)
    # The metrics of the step are written, but it is not saved.
    assert list(scripted.rows) == [1, 2, 3]
    assert scripted.saved.steps == [1, 2]


def test_a_run_goes_on_while_fewer_updates_are_skipped():
    outcome = run(Scripted(Stepper(skipped={0: 1, 1: 2, 2: 0, 3: 2})), max_skipped=3)
    assert outcome.finished


@pytest.mark.reliability("F41")
@pytest.mark.parametrize("gap", [0.51, np.inf, np.nan])
def test_a_run_fails_when_sampler_and_trainer_disagree_by_more_than_allowed(gap):
    scripted = Scripted(Stepper({1: {"policy/logprob_gap_max": gap}}))
    message = rf"step 2: sampler and trainer disagree .* by {gap}, .*max_logprob_gap = 0\.5"
    with pytest.raises(ValueError, match=message):
        run(scripted, max_logprob_gap=0.5)
    assert scripted.saved.steps == [1]


@pytest.mark.parametrize(("gap", "allowed"), [(0.5, 0.5), (9.0, None)])
def test_a_run_goes_on_where_they_agree_as_far_as_is_asked(gap, allowed):
    scripted = Scripted(Stepper({1: {"policy/logprob_gap_max": gap}}))
    assert run(scripted, max_logprob_gap=allowed).finished


def test_a_run_fails_when_the_stepper_says_so_after_the_step_is_logged_and_before_it_is_saved():
    scripted = Scripted(Stepper(fails_after=3))
    with pytest.raises(ValueError, match="3 steps are enough"):
        run(scripted)
    assert list(scripted.rows) == [1, 2, 3]
    assert scripted.saved.steps == [1, 2]


def test_a_step_for_which_a_device_has_no_memory_says_what_to_lower():
    scripted = Scripted()

    def step(number, state):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    scripted.stepper.step = step
    with pytest.raises(MemoryError, match=r"^step 1: a device .* Lower learner\.packing\.micro_g"):
        run(scripted)
    assert scripted.saved.steps == []


GOOD = {"optimizer/param_norm": 2.0, "policy/entropy": 0.5}


@pytest.mark.parametrize(
    ("ruined", "look_at"),
    [
        ({"optimizer/param_norm": 61.0}, "optimizer.learning_rate"),
        ({"policy/entropy": 0.0}, "rollout.temperature"),
        ({"rollout/truncated": 1.0}, "rollout.max_new_tokens"),
        ({"advantage/std": 0.0}, "look at the reward"),
    ],
)
def test_a_run_fails_when_its_policy_is_ruined_and_its_good_step_is_kept(ruined, look_at):
    scripted = Scripted(Stepper({n: GOOD | (ruined if n > 1 else {}) for n in range(9)}))
    with pytest.raises(ValueError, match=r"step 5: the policy is ruined") as caught:
        run(scripted, steps=9, early_stop=EarlyStop(ruined=3))
    assert look_at in str(caught.value)
    assert "--init_from=WORKDIR@2" in str(caught.value)
    assert scripted.saved.steps == [1, 2, 3, 4]
    # The good step 2 is not rotated out by those that may be ruined.
    assert scripted.saved.protected == [(), (), (2,), (2,)]


def test_a_policy_that_recovers_is_not_ruined_and_protects_nothing_older():
    bad = GOOD | {"rollout/truncated": 1.0}
    stats = dict(enumerate([GOOD, bad, bad, GOOD, bad, bad, GOOD]))
    scripted = Scripted(Stepper(stats))
    assert run(scripted, steps=7, early_stop=EarlyStop(ruined=3)).finished
    assert scripted.saved.protected == [(), (1,), (1,), (), (4,), (4,), ()]


def test_a_run_that_goes_on_counts_the_ruined_steps_before_and_protects_the_good_one():
    bad = GOOD | {"policy/entropy": 0.0}
    scripted = Scripted(Stepper({2: bad, 3: bad}))
    health = {"first_norm": 2.0, "rows": {"certain": 1}, "sound": 1}
    before = Progression.of({"evaluated": 0, "health": health})
    with pytest.raises(ValueError, match=r"step 4: the policy is ruined, for 3 .*WORKDIR@1"):
        run(scripted, step=2, progression=before, early_stop=EarlyStop(ruined=3))
    assert scripted.saved.protected == [(1,)]


def test_steps_without_an_informative_group_protect_the_last_one_that_had_some():
    scripted = Scripted(Stepper({2: {"filter/empty": 1.0}, 3: {"filter/empty": 1.0}}))
    run(scripted)
    assert scripted.saved.protected == [(), (), (2,), (2,)]


# What the run says.


def test_a_request_during_the_last_step_changes_nothing():
    scripted = Scripted(stopped_after=4)
    outcome = run(scripted)
    assert (outcome.step, outcome.finished) == (4, True)
    assert scripted.saved.forced == [4]


def test_a_request_during_a_step_that_ends_the_run_early_changes_nothing():
    scripted = Scripted(accuracies=[0.25, 0.5, 0.75], stopped_after=2)
    outcome = run(scripted, early_stop=EarlyStop(accuracy=0.5))
    assert (outcome.step, outcome.finished) == (2, True)


def test_a_run_that_is_asked_to_stop_before_its_first_step_takes_none():
    scripted = Scripted(accuracies=[0.5], stopped_after=0)
    outcome = run(scripted, early_stop=EarlyStop(accuracy=0.5))
    assert (outcome.step, outcome.finished, scripted.stepper.steps) == (0, False, [])


def test_the_step_that_would_be_finished_is_known_while_it_runs():
    scripted = Scripted(accuracies=[0.25] * 3)
    seen = []
    step, evaluate = scripted.stepper.step, scripted._evaluate
    scripted.stepper.step = lambda *given: (seen.append(scripted.finishing), step(*given))[1]
    scripted._evaluate = lambda policy: (seen.append(scripted.finishing), evaluate(policy))[1]
    run(scripted, steps=2)
    # The evaluation after step 2 is a part of it.
    assert seen == ["the evaluation before the first step", "step 1", "step 2", "step 2"]


def test_answers_of_every_evaluation_are_kept_under_the_step_that_they_follow():
    scripted = Scripted(accuracies=[0.25, 0.5, 0.75])
    run(scripted)
    assert scripted.kept == [0, 2, 4]


def test_the_console_hears_what_the_run_is_at_in_turn():
    told = []

    class Console:
        def __call__(self, what, done=0, of=0):
            told.append(what)

        def begin(self, step):
            told.append(f"from {step}")

        def step(self, step, metrics):
            told.append(f"{step}: {sorted(metrics)[-1]}")

    run(Scripted(accuracies=[0.25, 0.5]), steps=2, console=Console())
    assert told == [
        "from 0",
        "evaluating",
        "from 0",
        "1: rollout/tokens",
        "saving step 1",
        "evaluating",
        "2: rollout/tokens",
        "saving step 2",
        "waiting for the checkpoint to be written",
    ]
