"""The trainer of docs/own_trainer.md learns, and its parts are what the page says."""

import re
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from tests import pages

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PAGE = "docs/own_trainer.md"


@pytest.fixture(scope="module")
def page():
    return SimpleNamespace(**pages.run(PAGE))


@pytest.fixture
def policy(page):
    return page.Policy(nnx.Rngs(0))


@pytest.fixture
def batch(page, policy):
    """Sixteen groups of which two are informative: 3 of 12 right, and 1 of 12."""
    groups = [page.one_group(row, 0, 0.0) for row in page.train_rows[: page.GROUPS]]
    pixels = page.pixels_of(groups)
    responses = page.sample(policy, pixels, jax.random.key(0), 1.0)
    tokens, mask = map(np.asarray, responses)
    accuracy = np.zeros((page.GROUPS, 12))
    accuracy[4, :3] = 1
    accuracy[9, 11] = 1
    refill = page.Refill(page.GROUPS, page.GROUPS).add(accuracy)
    return page.to_batch(policy, [(pixels, tokens, mask, accuracy)], refill)


# The run.


def test_permuted_orders_teach_the_policy_to_look(page):
    before, _, _ = page.results["before"]
    accuracy, consistency, informative = page.results["permuted orders"]
    assert before < 0.3
    assert accuracy > 0.85
    assert consistency > 0.5
    assert informative > 0.3


def test_without_them_it_answers_by_place(page):
    accuracy, consistency, informative = page.results["own order only"]
    permuted = page.results["permuted orders"]
    assert accuracy < permuted[0] - 0.15
    assert consistency < permuted[1] - 0.4
    assert informative < permuted[2]


def test_the_page_shows_what_the_program_prints(page):
    (shown,) = pages.blocks(PAGE, "text")
    rows = [re.split(r"\s{2,}", line) for line in shown.splitlines()[1:]]
    assert [name for name, *_ in rows] == list(page.results)
    # Rounding, and with it some samples, differs between machines. Seeds differ by up to 0.28.
    for name, *numbers in rows:
        np.testing.assert_allclose(np.array(numbers, float), page.results[name], atol=0.3)


# Its parts, by hand.


def test_an_answer_is_graded_against_the_version_that_was_asked(page):
    row = page.Example("1", "bright", page.QUESTION, ("a", "b", "c"), "A")
    turned = page.permute(row, (1, 2, 0), page.rule)
    assert (turned.answer, turned.images) == ("C", ("b", "c", "a"))
    tokens = np.array([[[0, 3, 3], [2, 3, 3], [0, 3, 3], [2, 2, 2]]])  # A. C. A. CCC
    mask = np.array([[[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]]], bool)
    assert page.grade(tokens, mask, [[row, turned] * 2]).tolist() == [[1, 1, 1, 0]]


def test_a_group_has_four_rollouts_of_each_of_three_orders(page):
    group = page.one_group(page.train_rows[0], step=0, rate=1.0)
    assert group[0] is page.train_rows[0]
    pictures = [tuple(map(id, version.images)) for version in group]
    assert [pictures.count(order) for order in dict.fromkeys(pictures)] == [4, 4, 4]
    assert page.one_group(page.train_rows[0], step=0, rate=0.0) == [page.train_rows[0]] * 12


def test_a_letter_names_the_old_image_at_its_place(page):
    assert page.image_named("A.", (2, 0, 1)) == 2
    assert page.image_named("C", (2, 0, 1)) == 1
    assert page.image_named("AB.", (2, 0, 1)) is None
    assert page.image_named(".", (2, 0, 1)) is None


def test_advantages_are_those_of_the_group_pooled_over_orders(batch):
    # 3 of 12 right: the mean is 1/4, the variance (3 * 9/16 + 9 * 1/16) / 11 = 9/44.
    std = np.sqrt(9 / 44)
    expected = np.repeat([0.75 / std, -0.25 / std], [3, 9])
    np.testing.assert_allclose(batch.advantages[0], expected, rtol=1e-5)
    # 1 of 12 right: the mean is 1/12, the variance (121/144 + 11 * 1/144) / 11 = 1/12.
    std = np.sqrt(1 / 12)
    expected = np.repeat([-1 / 12 / std, 11 / 12 / std], [11, 1])
    np.testing.assert_allclose(batch.advantages[1], expected, rtol=1e-5)


def test_slots_that_only_fill_the_batch_are_not_in_the_mask(batch):
    assert batch.mask.any(axis=(1, 2)).tolist() == [True, True] + [False] * 14


def test_a_mask_ends_with_the_first_full_stop(page, policy):
    pixels = np.zeros((256, 3, 8, 8), np.float32)
    responses = page.sample(policy, pixels, jax.random.key(0), 1.0)
    tokens, mask = map(np.asarray, responses)
    texts = ["".join(page.WORDS[token] for token in response) for response in tokens]
    lengths = [(text + ".").index(".") + 1 for text in texts]
    assert mask.sum(axis=1).tolist() == [min(length, page.LENGTH) for length in lengths]
    assert set(lengths) == {1, 2, 3, 4}


def test_nothing_outside_the_mask_reaches_loss_and_gradients(page, policy, batch):
    broken = batch._replace(old_logprobs=np.where(batch.mask, batch.old_logprobs, np.nan))
    loss_and_gradients = nnx.jit(nnx.value_and_grad(page.loss_of))
    reference = nnx.clone(policy)
    expected = jax.tree.leaves(loss_and_gradients(policy, reference, batch))
    found = jax.tree.leaves(loss_and_gradients(policy, reference, broken))
    assert any(leaf.any() for leaf in expected[1:])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_first_loss_of_a_batch_is_minus_the_mean_advantage_of_its_tokens(page, policy, batch):
    # The ratios are 1, and the policy is its own reference.
    tokens = batch.mask.sum(axis=-1)
    expected = -np.sum(tokens * batch.advantages) / np.sum(tokens)
    np.testing.assert_allclose(page.loss_of(policy, policy, batch), expected, rtol=1e-4)


def test_an_update_makes_what_has_an_advantage_more_likely(page, policy, batch):
    optimizer = nnx.Optimizer(policy, optax.sgd(0.01), wrt=nnx.Param)
    page.update(policy, nnx.clone(policy), optimizer, batch)
    gain = page.logprobs_of(policy, batch.pixels, batch.tokens) - batch.old_logprobs
    assert np.sum(gain * batch.mask * np.asarray(batch.advantages)[..., None]) > 0


def test_the_preset_is_the_same_loss(page, policy, batch):
    reference = page.Policy(nnx.Rngs(1))
    loss = page.loss_of(policy, reference, batch)
    np.testing.assert_allclose(page.preset_loss(policy, reference, batch), loss, rtol=1e-6)
    other = page.preset_loss(policy, reference, batch, page.PRESETS["dr_grpo"])
    assert abs(other - loss) > 1e-3
