"""Asking a policy: what responses depend on, what orders are asked, and rows it cannot be asked."""

import numpy as np
import pytest

from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.asking import Asked, PolicyAnswers
from perl_jax.evaluation.predictions import Answers
from perl_jax.evaluation.rows import read_rows
from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.rollout import Rollouts, Sampler, SamplerConfig, Strategy
from tests.evaluation.scripted import SCRIPTED, row, write_rows

pytestmark = pytest.mark.usefixtures("compiled_quickly")

CONFIG = SamplerConfig(
    prompt_lengths=(256,), response_lengths=(8,), patches=(512,), rows=16, prefill_tokens=1024,
    chunk=8,
)  # fmt: skip


def asked(temperature=0.0, num_samples=1, orders=None, seed=0):
    return Asked(Strategy(temperature=temperature), num_samples, 6, orders, seed, most_rows=4)


class Scripted:
    """A sampler whose response number n to every prompt says its group, its order and n."""

    def __init__(self, processor, most_tokens=10**6):
        self.processor, self.groups, self.most_tokens = processor, [], most_tokens

    def check(self, group):
        if len(group.prompts[0].tokens) > self.most_tokens:
            raise ValueError("prompt length: larger than the largest rung")

    def sample(self, model, groups, *, num_rollouts, **settings):
        self.groups += groups
        self.settings = settings
        texts = [
            [[f"{group.id} {k} {n}" for n in range(num_rollouts)] for k in range(group.num_orders)]
            for group in groups
        ]
        encoded = [
            [[self.processor.tokenizer(t)["input_ids"] for t in k] for k in g] for g in texts
        ]
        longest = max(len(t) for g in encoded for k in g for t in k)
        shape = (len(groups), max(map(len, encoded)), num_rollouts)
        tokens = np.zeros((*shape, longest), np.int32)
        lengths = np.zeros(shape, np.int32)
        for g, of_group in enumerate(encoded):
            for k, of_order in enumerate(of_group):
                for n, response in enumerate(of_order):
                    tokens[g, k, n, : len(response)] = response
                    lengths[g, k, n] = len(response)
        return Rollouts(tokens, np.zeros(tokens.shape, np.float32), lengths, lengths > 0)


@pytest.fixture
def rows(tmp_path):
    """Two rows with images to permute, and one with an image too few for that."""
    last = row("three") | {"shades": [7], "question": "<image>Which? A or B?"}
    return list(
        read_rows(SCRIPTED, write_rows(tmp_path, [row("one"), row("two", "B"), last]), None)
    )


@pytest.fixture
def scripted(processor):
    def answers(rows, asked, **settings):
        sampler = Scripted(processor, **settings)
        return PolicyAnswers(sampler, None, SCRIPTED.official, asked)(rows), sampler

    return answers


def test_only_the_own_order_is_asked_by_default(scripted, rows):
    found, sampler = scripted(rows, asked())
    assert found == [Answers(((f"{row.id} 0 0",),)) for row in rows]
    assert [group.id for group in sampler.groups] == ["one", "two", "three"]
    assert sampler.settings["key"] == 0


def test_orders_are_asked_in_one_group_whose_images_are_encoded_once(scripted, rows):
    found, sampler = scripted(rows, asked(orders=3))
    one, _, three = found
    assert one.orders[0] == (0, 1, 2)
    assert len(set(one.orders)) == 3
    assert one.responses == (("one 0 0",), ("one 1 0",), ("one 2 0",))
    assert (three.orders, three.responses, three.again) == (((0,),), (("three 0 0",),), None)
    group = sampler.groups[0]
    assert (len(group.images), group.num_orders) == (3, 3)
    assert group.slots[1:] == one.orders[1:]
    (found, *_), _ = scripted(rows, asked(orders=120))
    assert len(found.orders) == 6


def test_the_same_order_is_asked_again_where_chance_plays_a_part(scripted, rows):
    (one, *_), sampler = scripted(rows, asked(temperature=1.0, orders=2))
    assert one.again == "one 2 0"
    assert sampler.groups[0].asked == (0, 1, 0)
    # One prompt has one greedy response; of several responses each is another try.
    (one, *_), sampler = scripted(rows, asked(orders=2))
    assert (one.again, sampler.groups[0].asked) == ("one 0 0", (0, 1))
    (one, *_), sampler = scripted(rows, asked(temperature=1.0, orders=2, num_samples=2))
    assert (one.again, sampler.groups[0].asked) == (None, (0, 1))
    assert one.responses[1] == ("one 1 0", "one 1 1")


def test_rows_that_cannot_be_asked_are_bad_and_others_are_asked(scripted, processor, tmp_path):
    wrong = row("many") | {"question": "<image><image>Which?"}
    data = [row("broken") | {"broken": True}, wrong, row("one")]
    rows = list(read_rows(SCRIPTED, write_rows(tmp_path, data), None))
    (broken, many, one), sampler = scripted(rows, asked())
    assert (broken.reason, many.reason) == ("bad_image", "bad_prompt")
    assert "image 1" in broken.message
    assert "rows.jsonl:0 (broken)" in str(broken)
    assert one == Answers((("one 0 0",),))
    found, sampler = scripted(rows, asked(), most_tokens=5)
    assert isinstance(found[2], BadRow)
    assert found[2].reason == "too_large"
    assert sampler.groups == []


# A real policy.


@pytest.fixture(scope="module")
def policy(checkpoint):
    sampler = Sampler(load_processor(checkpoint), CONFIG)
    model = load_model(checkpoint, dtype="float32")
    return lambda asked: PolicyAnswers(sampler, model, SCRIPTED.official, asked)


def test_a_sampled_response_depends_on_seed_and_row_only(policy, rows):
    whole = policy(asked(temperature=1.0, orders=2))(rows)
    alone = [policy(asked(temperature=1.0, orders=2))([row])[0] for row in reversed(rows)]
    assert whole == alone[::-1]
    # More orders, or none, ask the own one with the same result.
    (own, *_) = policy(asked(temperature=1.0))(rows[:1])
    assert own.responses[0] == whole[0].responses[0]
    assert whole[0].again != whole[0].responses[0][0]
    assert policy(asked(temperature=1.0, orders=2, seed=1))(rows) != whole
