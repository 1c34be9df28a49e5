"""The policies in the package: both load, answer the demo's questions, and learn from a step.

`test_real_rollouts` shows it of the one that its other tests draw from, this module of the other.
"""

import jax
import numpy as np
import pytest

from perl_jax.rewards import Grader
from tests.update.cases import quick_compilation
from tests.update.real_runs import POLICY, QWEN3_POLICY, Demo, arrays


def test_they_take_less_than_five_megabytes():
    sizes = [file.stat().st_size for path in (POLICY, QWEN3_POLICY) for file in path.iterdir()]
    assert sum(sizes) < 5_000_000


@pytest.fixture(scope="module")
def demo():
    with quick_compilation(), Grader(num_workers=1, deadline=120.0) as grader:
        yield Demo.load(grader, QWEN3_POLICY)


@pytest.fixture(scope="module")
def collected(demo):
    return demo.collect()


@pytest.fixture(scope="module")
def learner(demo):
    return demo.learner()


def test_a_digit_is_one_token_and_a_question_fits_the_demo(demo):
    digit = np.zeros((28, 28, 3), np.uint8)
    prompt = demo.processor.encode("<image><image> Which digit is larger?", [digit] * 2)
    assert (prompt.tokens == demo.processor.image_token).sum() == 2
    assert [image.num_patches for image in prompt.images] == [4, 4]


def test_it_answers_some_questions_rightly_and_others_not(demo, collected):
    rewards = np.array([row["reward"] for row in collected.records])
    # 0.9 for a right answer and 0.1 for the format, which it has learned.
    assert 0 < (rewards > 0.5).mean() < 1
    assert (rewards > 0.05).mean() > 0.8
    assert collected.records[0]["responses"][0][0].startswith("<think>")


@pytest.mark.soak  # every program of an update, compiled once more
def test_a_step_moves_every_parameter_and_keeps_them_finite(demo, learner, collected):
    state = learner.init(demo.model, jax.random.key(0))
    before = arrays(state)
    state, stats = learner.reinforce(state, collected.batch)
    assert stats["optimizer/grad_norm"] > 0
    after = arrays(state)
    assert {path for path in after if np.array_equal(before[path], after[path])} == set()
    assert all(np.isfinite(array).all() for array in after.values())
