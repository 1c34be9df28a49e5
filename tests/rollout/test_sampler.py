"""What the sampler draws: exactly what each rollout alone would, however the work is cut."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy, programs
from perl_jax.types import Prompt
from tests.counting import count_flops
from tests.models.fixtures import random_image
from tests.rollout.alone import append, logits_of, sample_alone
from tests.rollout.conftest import CONFIG, WARM, group


def draw(sampler, model, groups, *, strategy=WARM, **changes):
    arguments = {"num_rollouts": 4, "max_new_tokens": 24, "strategy": strategy, "key": 1}
    return sampler.sample(model, groups, **{**arguments, **changes})


@pytest.fixture(scope="module")
def sample(sampler, model):
    """Draws from the policy of most tests."""
    return partial(draw, sampler, model)


@pytest.fixture(scope="module")
def rollouts(sample, groups):
    return sample(groups)


def response(rollouts, *where):
    length = rollouts.lengths[where]
    return rollouts.tokens[where][:length].tolist(), rollouts.logprobs[where][:length]


def test_every_rollout_is_what_it_would_be_alone(model, processor, groups, rollouts):
    for g, k, n in np.argwhere(rollouts.lengths > 0)[::3]:
        tokens, logprobs = sample_alone(
            model, processor, groups[g], k, n,
            max_new_tokens=24, strategy=WARM, key=jax.random.key(1),
        )  # fmt: skip
        got_tokens, got_logprobs = response(rollouts, g, k, n)
        assert got_tokens == tokens
        np.testing.assert_allclose(got_logprobs, logprobs, atol=1e-5)


def test_rollouts_differ_and_some_end_early(rollouts):
    """The tests of this module would show little if they did not."""
    tokens = rollouts.tokens[rollouts.lengths > 0]
    assert len({tuple(row) for row in tokens}) > 0.9 * len(tokens)
    assert 0 < rollouts.stopped.sum() < (rollouts.lengths > 0).sum()


def test_logprobs_are_those_of_a_teacher_forced_pass(model, groups, rollouts, processor):
    """At the sampling temperature, over tokens that are not banned."""
    banned = processor.banned_rows(model.config.vocab_size)
    for where in [(0, 1, 2), (1, 0, 0), (3, 2, 3)]:
        tokens, logprobs = response(rollouts, *where)
        sequence = groups[where[0]].prompts[where[1]]
        start = len(sequence.tokens) - 1
        for token in tokens:
            sequence = append(sequence, token)
        logits = logits_of(model, sequence).astype(np.float64)[start:-1] / 3.0
        logits[:, banned] = -np.inf
        normalised = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        want = normalised[np.arange(len(tokens)), tokens]
        np.testing.assert_allclose(logprobs, want, atol=1e-5)


# Other chunks and more rows, `test_sampling` shows of groups that come in portions.
@pytest.mark.parametrize(
    "change",
    [
        {"refill": False},
        pytest.param({"chunk": 5}, marks=pytest.mark.soak),
        pytest.param({"rows": 1000}, marks=pytest.mark.soak),
        {"rows": 1},
        {"prompt_lengths": (96,), "response_lengths": (64,), "patches": (1024,)},
        {"prefill_tokens": 1},
    ],
    ids=str,
)
def test_how_the_work_is_cut_changes_nothing(change, model, processor, groups, rollouts):
    other = Sampler(processor, dataclasses.replace(CONFIG, **change))
    assert_equal(draw(other, model, groups), rollouts)


def assert_equal(got, want):
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.lengths, want.lengths)
    np.testing.assert_array_equal(got.stopped, want.stopped)
    np.testing.assert_allclose(got.logprobs, want.logprobs, atol=1e-5)


def test_the_rest_of_the_batch_changes_nothing(sample, groups, rollouts):
    part = sample([groups[3], groups[1]])
    for g, old in ((0, 3), (1, 1)):
        for k in range(len(groups[old].prompts)):
            for n in range(4):
                got, want = response(part, g, k, n), response(rollouts, old, k, n)
                assert got[0] == want[0]
                np.testing.assert_allclose(got[1], want[1], atol=1e-5)


def test_fewer_rollouts_are_the_first_of_more(sample, groups, rollouts):
    fewer = sample(groups, num_rollouts=2)
    width = fewer.tokens.shape[-1]
    np.testing.assert_array_equal(fewer.tokens, rollouts.tokens[:, :, :2, :width])


@pytest.mark.soak  # the same as below, where nothing moves
def test_eight_devices_draw_what_one_draws(checkpoint, processor, groups, rollouts):
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    model = load_model(checkpoint, dtype="float32", mesh=mesh)
    assert_equal(draw(Sampler(processor, CONFIG), model, groups), rollouts)


def test_eight_devices_move_what_still_runs_as_one_does(checkpoint, model, processor, groups):
    """Orders end at different times, others take their places, and the rest is moved together."""
    many = [dataclasses.replace(groups[1], id=str(n)) for n in range(40)]
    config = dataclasses.replace(CONFIG, rows=32, chunk=4)
    sharded = load_model(checkpoint, dtype="float32", mesh=make_mesh(data=2, fsdp=2, tensor=2))
    here, there = Sampler(processor, config), Sampler(processor, config)
    want, got = (
        draw(sampler, policy, many, num_rollouts=1, max_new_tokens=36)
        for sampler, policy in ((here, model), (there, sharded))
    )
    assert_equal(got, want)
    for sampler in (here, there):
        assert {name for name, _, _ in sampler.calls} >= {"resize", "drop_slots", "compact"}


def test_another_key_draws_other_responses_and_the_same_key_the_same(sample, groups, rollouts):
    assert_equal(sample(groups, key=jax.random.key(1)), rollouts)
    other = sample(groups, key=2)
    width = min(other.tokens.shape[-1], rollouts.tokens.shape[-1])
    same = other.tokens[..., :width] == rollouts.tokens[..., :width]
    assert same[rollouts.lengths > 0].mean() < 0.5


@pytest.mark.parity
# Without a penalty, `models.test_parity` compares them as well.
@pytest.mark.parametrize("penalty", [pytest.param(1.0, marks=pytest.mark.soak), 1.3])
def test_greedy_responses_equal_those_of_transformers(
    penalty, checkpoint, model, sample, groups, processor
):
    import torch

    from tests.models.reference import Reference

    reference = Reference(checkpoint)
    strategy = Strategy(temperature=0, repetition_penalty=penalty)
    got = sample(groups, num_rollouts=1, strategy=strategy)
    banned = processor.banned_rows(model.config.vocab_size)
    for g, k, _ in np.argwhere(got.lengths > 0):
        prompt = groups[g].prompts[k]
        reference.model.model.rope_deltas = None
        with torch.no_grad():
            ids = reference.model.generate(
                **reference.inputs([prompt]),
                do_sample=False,
                temperature=None,
                repetition_penalty=penalty,
                max_new_tokens=24,
                eos_token_id=list(processor.stop_tokens),
                pad_token_id=processor.pad_token,
                suppress_tokens=np.flatnonzero(banned).tolist(),
            )
        assert response(got, g, k, 0)[0] == ids[0, len(prompt.tokens) :].tolist()


def test_a_response_ends_with_its_first_stop_token(rollouts, processor):
    for g, k, n in np.argwhere(rollouts.lengths > 0):
        tokens, _ = response(rollouts, g, k, n)
        ends = [token in processor.stop_tokens for token in tokens]
        assert not any(ends[:-1])
        assert ends[-1] == rollouts.stopped[g, k, n]
        assert rollouts.stopped[g, k, n] or len(tokens) == 24


def test_what_lies_beyond_a_response_is_padding(rollouts, processor):
    assert (rollouts.tokens[~rollouts.mask] == processor.pad_token).all()
    assert (rollouts.logprobs[~rollouts.mask] == 0).all()
    assert (rollouts.logprobs[rollouts.mask] < 0).all()
    assert (rollouts.lengths[1, 1:] == 0).all()


@pytest.mark.reliability("58")
def test_padding_with_a_token_that_ends_responses_changes_none(model, processor, groups, rollouts):
    stop = next(iter(processor.stop_tokens))
    assert stop != processor.pad_token
    padded = Sampler(dataclasses.replace(processor, pad_token=stop), CONFIG)
    got = draw(padded, model, groups)
    np.testing.assert_array_equal(got.lengths, rollouts.lengths)
    np.testing.assert_array_equal(got.stopped, rollouts.stopped)
    np.testing.assert_array_equal(got.mask, rollouts.mask)
    np.testing.assert_array_equal(got.tokens[got.mask], rollouts.tokens[got.mask])


@pytest.mark.reliability("88")
def test_banned_tokens_are_never_drawn(sample, model, groups, processor):
    hot = [sample(groups, strategy=Strategy(temperature=100.0), key=key) for key in range(4)]
    drawn = np.concatenate([rollouts.tokens[rollouts.mask] for rollouts in hot])
    banned = processor.banned_rows(model.config.vocab_size)
    assert not banned[drawn].any()
    assert len(set(drawn.tolist())) > 300


def test_a_stop_string_ends_a_response_at_the_token_that_completes_it(
    sample, groups, rollouts, processor
):
    tokens, _ = response(rollouts, 1, 0, 0)
    text = processor.decode(tokens)
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    got = sample(groups, strategy=dataclasses.replace(WARM, stop=("no such text", stop)))
    for g, k, n in np.argwhere(rollouts.lengths > 0):
        whole, _ = response(rollouts, g, k, n)
        counts = range(1, len(whole) + 1)
        length = next((c for c in counts if stop in processor.decode(whole[:c])), None)
        assert response(got, g, k, n)[0] == whole[:length]
        assert got.stopped[g, k, n] == (length is not None or rollouts.stopped[g, k, n])
    assert response(got, 1, 0, 0)[0] != tokens


def test_a_repetition_penalty_counts_prompt_and_response(sample, model, processor, groups):
    strategy = Strategy(temperature=2.0, repetition_penalty=1.5, top_k=20, top_p=0.9)
    got = sample(groups, strategy=strategy)
    for where in [(0, 1, 2), (3, 0, 1)]:
        tokens, logprobs = sample_alone(
            model, processor, groups[where[0]], *where[1:],
            max_new_tokens=24, strategy=strategy, key=jax.random.key(1),
        )  # fmt: skip
        assert response(got, *where)[0] == tokens
        np.testing.assert_allclose(response(got, *where)[1], logprobs, atol=1e-5)


def test_new_tokens_are_reported_as_they_come(sample, groups, rollouts):
    seen = {}

    def on_tokens(group, order, rollout, tokens):
        seen.setdefault((group, order, rollout), []).extend(tokens.tolist())

    sample(groups, on_tokens=on_tokens)
    assert seen == {
        tuple(where): response(rollouts, *where)[0]
        for where in np.argwhere(rollouts.lengths > 0).tolist()
    }


def test_texts_are_nested_as_groups_orders_and_rollouts(rollouts, groups, processor):
    texts = rollouts.texts(processor.decode)
    assert [len(orders) for orders in texts] == [len(group.prompts) for group in groups]
    assert texts[3][2][1] == processor.decode(response(rollouts, 3, 2, 1)[0])


# Each image once, each order once.


def programs_run(model, processor, groups, num_rollouts):
    """The programs of one call with how often each ran and its operations, by name."""
    # Room for all at once: with fewer rows orders are read in other portions, padded otherwise.
    config = dataclasses.replace(CONFIG, rows=1000)
    fresh = Sampler(processor, config)
    # Responses of one token, which are drawn without decoding.
    fresh.sample(model, groups, num_rollouts=num_rollouts, max_new_tokens=1, strategy=WARM, key=0)
    definition, parameters = nnx.split(model)
    flops = {"encode": 0, "prefill": 0}
    for (name, structure, leaves), count in fresh.calls.items():
        if name == "encode":
            _, images = jax.tree.unflatten(structure, leaves)
            encode = partial(programs.encode, definition, None)
            flops[name] += count * count_flops(encode, parameters, images)
        if name == "prefill":
            _, features, prompts = jax.tree.unflatten(structure, leaves)
            prefill = partial(programs.prefill, definition, None)
            flops[name] += count * count_flops(prefill, parameters, features, prompts)
    return flops


def test_encoding_and_reading_do_not_grow_with_the_number_of_rollouts(model, processor, groups):
    few, many = (programs_run(model, processor, groups[3:], n) for n in (1, 8))
    assert few == many
    assert few["encode"] > 0
    assert few["prefill"] > 0


def test_encoding_does_not_grow_with_the_number_of_orders(model, processor, groups):
    one = Group.of("three", groups[3].prompts[:1])
    few, many = (programs_run(model, processor, [g], 1) for g in (one, groups[3]))
    assert few["encode"] == many["encode"]
    assert few["prefill"] < many["prefill"]


def test_images_and_orders_are_counted_once(rollouts, groups):
    assert rollouts.stats["images"] == 6
    assert rollouts.stats["orders"] == 7
    assert rollouts.stats["patches"] == sum(
        len(image.patches) for group in groups for image in group.images
    )
    assert rollouts.stats["prompt_tokens"] == sum(
        len(prompt.tokens) for group in groups for prompt in group.prompts
    )
    assert rollouts.stats["response_tokens"] == rollouts.lengths.sum()


@pytest.mark.reliability("F40")
def test_shapes_that_were_seen_are_not_compiled_again(sample, groups, rollouts, caplog):
    with caplog.at_level("INFO"):
        again = sample(groups, strategy=Strategy(temperature=0.7), key=5)
    assert again.stats.get("compilations", 0) == 0
    assert not [record for record in caplog.records if "compiling" in record.message]
    before = programs.decode._cache_size()
    sample(groups, strategy=Strategy(temperature=0.9, min_p=0.1))
    assert programs.decode._cache_size() == before


def test_refilling_takes_fewer_rows_than_waiting_for_the_last(model, processor, groups):
    """Sixteen responses through four places; they end at different times."""
    many = [dataclasses.replace(groups[1], id=str(n)) for n in range(16)]
    rows = {}
    for refill in (True, False):
        config = dataclasses.replace(CONFIG, refill=refill, rows=4, chunk=4)
        got = draw(
            Sampler(processor, config), model, many, num_rollouts=1, max_new_tokens=64,
            strategy=Strategy(temperature=100.0),
        )  # fmt: skip
        rows[refill] = got.stats["decode_rows"]
        lengths = got.lengths
    assert lengths.min() < lengths.max()
    assert rows[True] < rows[False]


def test_thirty_two_images_and_a_long_prompt(model, processor):
    config = SamplerConfig(prompt_lengths=(2048,), response_lengths=(16,), patches=(4096,), chunk=4)
    rng = np.random.default_rng(0)
    images = [processor.preprocess(random_image(rng, (84, 112))) for _ in range(32)]
    text = "<image> and the " * 32 + "You are a helpful assistant . " * 170
    forward = processor.encode(text, images)
    backward = processor.encode(text, images[::-1])
    assert len(forward.tokens) > 1500
    greedy = Strategy(temperature=0)
    got = Sampler(processor, config).sample(
        model,
        [Group.of("many", [forward, backward])],
        num_rollouts=1, max_new_tokens=4, strategy=greedy,
    )  # fmt: skip
    assert got.stats["images"] == 32
    for k, prompt in enumerate((forward, backward)):
        first = int(np.where(
            processor.banned_rows(model.config.vocab_size), -np.inf,
            np.asarray(model.logits(prompt)[-1]),
        ).argmax())  # fmt: skip
        assert got.tokens[0, k, 0, 0] == first


def test_memory_of_reading_a_prompt_grows_with_its_length_not_its_square(model):
    definition, parameters = nnx.split(model)

    def temporary(length):
        tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
        positions = jax.ShapeDtypeStruct((3, 1, length), jnp.int32)
        valid = jax.ShapeDtypeStruct((1, length), bool)
        prompts = programs.PromptInputs(tokens, positions, valid, tokens, None)
        lowered = programs.prefill.lower(
            definition, None, parameters, jax.ShapeDtypeStruct((1, 64, 1, 64), jnp.float32), prompts
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(32768) < 2.2 * temporary(16384)


# What cannot be sampled.


@pytest.mark.reliability("F40")
def test_a_prompt_longer_than_the_ladder_is_named(sample, groups, processor):
    long = Group.of("long", [processor.encode("You are a helpful assistant . " * 40)])
    with pytest.raises(ValueError, match=r"group 'long', order 0: prompt length: \d+ is more than"):
        sample([groups[0], long])


def test_an_image_larger_than_the_ladder_is_named(model, processor):
    small = Sampler(processor, dataclasses.replace(CONFIG, patches=(64, 128)))
    large = group(processor, "large", [(224, 224)], [[0]])
    with pytest.raises(ValueError, match="image: 256 is more than the largest of patches, 128"):
        draw(small, model, [large])
    with pytest.raises(ValueError, match="image: 256 is more than the largest of patches, 128"):
        small.check(large)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rollouts": 0}, "num_rollouts: expected at least 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens: expected at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_named(changes, message, sample, groups):
    with pytest.raises(ValueError, match=message):
        sample(groups, **changes)


def test_empty_groups_and_repeated_ids_are_named(sample, groups):
    with pytest.raises(ValueError, match="groups: expected at least one, got none"):
        sample([])
    with pytest.raises(ValueError, match="group 'none': expected at least one prompt, got none"):
        Group.of("none", [])
    with pytest.raises(ValueError, match="group 'none': expected at least one prompt, got none"):
        sample([Group("none", (), (), (), ())])
    with pytest.raises(ValueError, match="expected different ids, got 'one' again"):
        sample([groups[1], groups[1]])
    empty = Prompt(np.zeros(0, np.int32), np.zeros((3, 0), np.int32), 0)
    with pytest.raises(ValueError, match="group 'e': expected prompts of at least one token"):
        sample([Group.of("e", [empty])])


def test_image_tokens_without_an_image_are_named(sample, groups):
    bare = dataclasses.replace(groups[1].prompts[0], images=())
    with pytest.raises(ValueError, match="group 'bare', order 0: expected as many image tokens"):
        sample([Group.of("bare", [bare])])


def test_logits_that_are_not_numbers_are_named(checkpoint, processor, groups):
    broken = load_model(checkpoint, dtype="float32")
    broken.text.norm.weight[...] = broken.text.norm.weight[...] * jnp.nan
    with pytest.raises(ValueError, match=r"logits are NaN or infinite: .* response token 0"):
        draw(Sampler(processor, CONFIG), broken, groups[2:3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_lengths": ()}, "prompt_lengths: expected rising positive sizes"),
        ({"patches": (512, 256)}, "patches: expected rising positive sizes"),
        ({"response_lengths": (0, 4)}, "response_lengths: expected rising positive sizes"),
        ({"chunk": 0}, "chunk: expected at least 1; got 0"),
        ({"rows": -1}, "rows: expected at least 1; got -1"),
    ],
)
def test_a_wrong_configuration_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        SamplerConfig(**changes)
