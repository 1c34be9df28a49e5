"""Rewards of rollouts: which are graded, against which answer, and who pays for length."""

from dataclasses import replace

import numpy as np
import pytest

from perl_jax.experience import rewarded
from perl_jax.permutation import Orders
from perl_jax.rewards import RewardConfig, Rewarder, Rewards, UserFunctions
from tests.experience.scripted import Grader, Processor, Sampler, example


def rollouts_of(words, num_rollouts=2):
    """Rollouts of one order to each of these examples."""
    sampler = Sampler(words)
    groups = [_Group(f"{n}/{name}") for n, name in enumerate(words)]
    return sampler.sample(None, groups, num_rollouts=num_rollouts, max_new_tokens=4)


class _Group:
    prompts = (None,)

    def __init__(self, id):
        self.id = id


def in_order(name, **fields):
    one = replace(example(name), **fields)
    return Orders(np.arange(4)[None], (one,), drawn=False)


def rewards(words, orders=None, mine=None, grader=None, **config):
    settings = {"weights": {"accuracy": 1.0, "overlong": 0.5}, **config}
    rewarder = Rewarder(RewardConfig(**settings), grader or Grader(), max_new_tokens=4)
    orders = orders or [in_order(name) for name in words]
    here = np.ones(len(words), bool) if mine is None else np.array(mine)
    return rewarded_by(rewarder, orders, rollouts_of(words), here)


def rewarded_by(rewarder, orders, rollouts, mine):
    texts = rewarded.decode_rollouts(Processor().decode, rollouts, mine)
    return rewarded.reward_rollouts(rewarder, orders, rollouts, texts)


def test_responses_that_are_cut_off_pay_the_overlong_penalty():
    """Both have as many tokens as are allowed, but only one of them ended itself."""
    found = rewards({"p": ["441.", "4441"]})
    np.testing.assert_array_equal(found.components["overlong"], [[[0, -1]]])
    np.testing.assert_array_equal(found.reward, [[[1, 0.5]]])


def test_the_penalty_rises_over_the_buffer():
    # Of four tokens the last two cost a half each.
    found = rewards({"p": ["1.", "41."], "q": ["441.", "4441"]}, overlong_buffer=2)
    np.testing.assert_array_equal(found.components["overlong"], [[[0, -0.5]], [[-1, -1]]])


def test_a_rollout_without_a_grade_is_not_scored_and_earns_nothing():
    found = rewards({"p": ["1.", "4449"]})
    assert found.scored.tolist() == [[[True, False]]]
    assert found.accuracy.tolist() == found.reward.tolist() == [[[1, 0]]]


def test_every_order_is_graded_against_its_own_answer():
    first = example("p")
    orders = Orders(np.array([[0, 1], [1, 0]]), (first, replace(first, answer="2")), drawn=True)
    sampler, grader = Sampler({"p": ["1.", "0.", "41.", "40."]}), Grader()
    group = _Group("0/p")
    group.prompts = (None, None)
    rollouts = sampler.sample(None, [group], num_rollouts=2, max_new_tokens=4)
    rewarder = Rewarder(RewardConfig(), grader, max_new_tokens=4)
    rewarded_by(rewarder, [orders], rollouts, np.array([True]))
    assert grader.asked == [("1", "1"), ("0", "1"), ("41", "2"), ("40", "2")]


def test_orders_without_rollouts_are_neither_graded_nor_scored():
    words, grader = {"p": ["1.", "1."]}, Grader()
    rollouts = rollouts_of(words)
    longer = replace(
        rollouts,
        tokens=np.repeat(rollouts.tokens, 2, axis=1),
        lengths=np.pad(rollouts.lengths, [(0, 0), (0, 1), (0, 0)]),
        stopped=np.pad(rollouts.stopped, [(0, 0), (0, 1), (0, 0)]),
    )
    rewarder = Rewarder(RewardConfig(), grader, max_new_tokens=4)
    found = rewarded_by(rewarder, [in_order("p")], longer, np.array([True]))
    assert len(grader.asked) == 2
    assert found.scored.tolist() == [[[True, True], [False, False]]]


class Recorder:
    """In place of a rewarder: remembers the rows."""

    def __call__(self, rows):
        self.rows = rows
        nothing = np.zeros(len(rows.texts), np.float32)
        return Rewards(nothing, nothing, nothing > 0, {}, {"raised": 2})


def test_a_rewarder_sees_what_was_asked_in_which_order_and_what_belongs_together():
    first = example("q", metadata={"worth": 3})
    other = replace(first, question=first.question + "Other.", answer="2")
    both = Orders(np.array([[0, 1, 2, 3], [1, 0, 2, 3]]), (first, other), drawn=True)
    sampler = Sampler({"p": ["1.", "41."], "q": ["1.", "0.", "441.", "40."]})
    groups = [_Group("0/p"), _Group("1/q")]
    groups[1].prompts = (None, None)
    rollouts = sampler.sample(None, groups, num_rollouts=2, max_new_tokens=4)
    recorder = Recorder()
    here = np.array([True, True])
    found = rewarded_by(recorder, [in_order("p", metadata={"worth": 2}), both], rollouts, here)
    rows = recorder.rows
    own, swapped = (0, 1, 2, 3), (1, 0, 2, 3)
    assert rows.texts == ["1", "41", "1", "0", "441", "40"]
    assert rows.answers == ["1", "1", "1", "1", "2", "2"]
    assert [one["worth"] for one in rows.metadata] == [2, 2, 3, 3, 3, 3]
    assert rows.lengths.tolist() == [2, 3, 2, 2, 4, 3]
    assert rows.stopped.all()
    assert rows.questions == [first.question] * 4 + [other.question] * 2
    assert rows.ids == ["p", "p", "q", "q", "q", "q"]
    assert rows.orders == [own] * 4 + [swapped] * 2
    assert rows.groups.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.failed == {"raised": 2}


FUNCTION = """
import os
def length_of(responses, ids, lengths):
    if ids[0] == "q":
        os._exit(1)
    return [float(length) for length in lengths]
"""


def test_a_function_that_crashes_for_one_group_leaves_that_group_alone_unscored(
    tmp_path, monkeypatch
):
    (tmp_path / "crashing_reward.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = RewardConfig(
        {"mine": 1.0}, {"mine": "crashing_reward:length_of"}, function_deadline=0.5
    )
    words = {"p": ["1.", "41."], "q": ["1.", "0."], "r": ["441.", "1."]}
    with UserFunctions(config) as functions:
        rewarder = Rewarder(config, Grader(), max_new_tokens=4, functions=functions)
        here = np.array([True, True, True])
        found = rewarded_by(rewarder, [in_order(name) for name in words], rollouts_of(words), here)
    assert found.scored.tolist() == [[[True, True]], [[False, False]], [[True, True]]]
    assert found.reward.tolist() == [[[2, 3]], [[0, 0]], [[4, 2]]]
    assert found.accuracy.tolist() == [[[1, 1]], [[0, 0]], [[1, 1]]]
    assert found.failed == {"crashed": 2}


def test_the_failures_of_functions_on_all_hosts_are_added(monkeypatch):
    other = {"where": [[], [], []], "reward": [], "accuracy": [], "scored": [], "components": {}}
    other["failed"] = {"raised": 1, "deadline": 4}
    monkeypatch.setattr(rewarded.hosts, "gather", lambda told, what: [told, other])
    rollouts = rollouts_of({"p": ["1.", "1."]})
    found = rewarded_by(Recorder(), [in_order("p")], rollouts, np.array([True]))
    assert found.failed == {"raised": 3, "deadline": 4}


def test_a_host_grades_its_own_examples_and_takes_the_others_from_their_hosts(monkeypatch):
    grader = Grader()
    words = {"p": ["1.", "0."], "q": ["0.", "9."]}
    monkeypatch.setattr(
        rewarded.hosts,
        "gather",
        lambda told, what: [
            told,
            {
                "where": [[1, 1], [0, 0], [0, 1]],
                "reward": [0.25, 0.0],
                "accuracy": [0.75, 0.0],
                "scored": [True, False],
                "components": {"overlong": [0.125, 0.0]},
                "failed": {},
            },
        ],
    )
    found = rewards(words, mine=[True, False], grader=grader)
    assert grader.asked == [("1", "1"), ("0", "1")]
    assert found.reward.tolist() == [[[1, 0]], [[0.25, 0]]]
    assert found.accuracy.tolist() == [[[1, 0]], [[0.75, 0]]]
    assert found.scored.tolist() == [[[True, True]], [[True, False]]]
    assert found.components["overlong"][1].tolist() == [[0.125, 0]]


def test_a_host_without_examples_grades_nothing_and_knows_all(monkeypatch):
    told_by_this = []

    def gather(told, what):
        told_by_this.append(told)
        other = {"where": [[0], [0], [0]], "reward": [1.0], "accuracy": [1.0], "scored": [True]}
        return [told, {**other, "components": {"format": [0.5]}, "failed": {}}]

    monkeypatch.setattr(rewarded.hosts, "gather", gather)
    grader = Grader()
    found = rewards({"p": ["1.", "0."]}, mine=[False], grader=grader)
    assert grader.asked == []
    assert told_by_this[0]["where"] == [[], [], []]
    assert found.reward.tolist() == [[[1, 0]]]
    assert found.components["format"].tolist() == [[[0.5, 0]]]
    assert found.reward.dtype == found.accuracy.dtype == np.float32


@pytest.mark.parametrize("mine", [[True, True], [True, False], [False, False]])
def test_arrays_have_a_place_for_every_rollout(mine):
    found = rewards({"p": ["1.", "1."], "q": ["1.", "1."]}, mine=mine)
    assert found.reward.shape == found.accuracy.shape == found.scored.shape == (2, 1, 2)
    assert found.scored.all(axis=(1, 2)).tolist() == mine
