"""Agreement with transformers' implementation, on the same tokens and pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.models import load_model, save_model
from perl_jax.models.cache import ResponseCache
from perl_jax.models.prompts import pack_prompts
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import Prompt
from tests.models.fixtures import (
    PROMPTS,
    OneProgram,
    assert_close,
    banned_tokens,
    greedy_tokens,
    random_image,
    relative_error,
)

pytestmark = pytest.mark.parity

NAMES = [*PROMPTS, "begins_with_an_image", "ends_with_an_image"]
VARIANTS = [
    pytest.param(layout, tied, shards, id=f"{layout}-{'tied' if tied else 'untied'}-{shards}")
    for layout in ("hub", "v5")
    for tied in (True, False)
    for shards in (1, 3)
]


@pytest.fixture(scope="module")
def reference(checkpoint):
    from tests.models.reference import Reference

    return Reference(checkpoint)


@pytest.fixture(scope="module")
def compiled():
    """The model's functions, jitted with the model as an argument."""
    return {
        "prefill": nnx.jit(lambda model, inputs: model.prefill(inputs)),
        "unembed": nnx.jit(lambda model, hidden: model.unembed(hidden)),
        "decode": nnx.jit(lambda model, *arguments: model.decode(*arguments)),
    }


@pytest.fixture(scope="module")
def one_program(model, prompts):
    return OneProgram(prompts, model.config)


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_those_of_transformers(name, model, reference, prompts, one_program):
    prompt = prompts[name]
    assert_close(one_program.logits(model, prompt), reference.logits([prompt])[0])


@pytest.mark.parametrize("name", ["ragged", "three_images"])
def test_logits_of_a_prompt_alone_equal_those_of_transformers(name, model, reference, prompts):
    prompt = prompts[name]
    assert_close(np.asarray(model.logits(prompt)), reference.logits([prompt])[0])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "text_only"])
def test_image_features_equal_those_of_transformers(name, model, reference, prompts, one_program):
    got = one_program.features(model, prompts[name])
    assert_close(got, reference.features(prompts[name]))


@pytest.mark.parametrize("name", NAMES)
def test_positions_equal_those_of_transformers(name, reference, prompts):
    positions, delta = reference.positions(prompts[name])
    np.testing.assert_array_equal(prompts[name].positions, positions)
    assert prompts[name].rope_delta == delta


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_give_the_logits_of_transformers(side, model, reference, prompts, compiled):
    batch = [prompts[name] for name in ("two_images", "text_only", "window_divisible")]
    longest = max(len(prompt.tokens) for prompt in batch)
    inputs = pack_prompts(batch, model.config, length=longest)
    if side == "left":
        inputs = pad_left(inputs, [len(prompt.tokens) for prompt in batch])
    hidden, _ = compiled["prefill"](model, inputs)
    got = np.asarray(compiled["unembed"](model, hidden))
    want = reference.logits(batch, side=side)
    valid = np.asarray(inputs.valid)
    assert_close(got[valid], want[valid])


def pad_left(inputs, lengths):
    """The same batch with its padding in front."""

    def roll(array):
        rows = [
            np.roll(array[..., row, :], array.shape[-1] - length, axis=-1)
            for row, length in enumerate(lengths)
        ]
        return np.stack(rows, axis=-2)

    fields = ("tokens", "positions", "valid", "feature_rows")
    return type(inputs)(*(roll(getattr(inputs, field)) for field in fields), inputs.images)


@pytest.mark.parametrize(
    ("name", "by_rows"),
    [("three_images", False), ("text_only", False), ("ends_with_an_image", True)],
)
def test_cached_steps_equal_one_pass_over_the_whole_sequence(
    name, by_rows, model, reference, prompts, compiled
):
    """Three responses to one prompt, eight tokens each, against three separate sequences."""
    prompt = prompts[name]
    length = len(prompt.tokens)
    responses = np.random.default_rng(0).integers(0, 400, (3, 8)).astype(np.int32)
    want = np.stack([reference.logits([append(prompt, r)])[0, length:] for r in responses])

    _, prefix = compiled["prefill"](model, pack_prompts([prompt], model.config))
    cache = ResponseCache.empty(model.config.cache_sizes, 1, 3, 8, "float32")
    if by_rows:
        cache = cache.by_rows()
    got = []
    for slot in range(8):
        tokens = jnp.asarray(responses[None, :, slot])
        positions = jnp.full_like(tokens, length + prompt.rope_delta + slot)
        valid = jnp.broadcast_to(jnp.arange(8)[None, None] <= slot, (1, 3, 8))
        arguments = (tokens, positions, valid, prefix, cache, slot)
        hidden, cache = compiled["decode"](model, *arguments)
        got.append(np.asarray(compiled["unembed"](model, hidden))[0])
    assert_close(np.stack(got, axis=1), want)


def append(prompt: Prompt, tokens: np.ndarray) -> Prompt:
    """The prompt and a response as one sequence; only the tokens matter to the reference."""
    return Prompt(np.concatenate([prompt.tokens, tokens]), prompt.positions, 0, prompt.images)


@pytest.mark.parametrize("name", ["two_images", "text_only"])
def test_greedy_tokens_equal_those_of_generate(name, model, reference, prompts, processor):
    banned = banned_tokens(processor)
    got = greedy_tokens(model, processor, prompts[name], 16)
    assert got == reference.greedy(prompts[name], 16, suppress=banned)


@pytest.mark.parametrize(("layout", "tied", "shards"), VARIANTS)
def test_every_form_of_checkpoint_loads_and_returns_to_transformers(
    layout, tied, shards, tmp_path, prompts
):
    from tests.models.reference import Reference

    source = write_tiny_checkpoint(
        tmp_path / "source", layout=layout, tied=tied, shards=shards, seed=shards
    )
    model = load_model(source, dtype="float32")
    reference = Reference(source)
    prompt = prompts["two_images"]
    want = reference.logits([prompt])[0]
    assert_close(np.asarray(model.logits(prompt)), want)

    max_shard_bytes = 10**9 if shards == 1 else 300_000
    save_model(model, tmp_path / "saved", max_shard_bytes=max_shard_bytes)
    again = Reference(tmp_path / "saved")
    assert not any(again.loading.values()), again.loading
    before, after = reference.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_bfloat16_is_as_near_to_float32_as_transformers_bfloat16(checkpoint, prompts, one_program):
    from tests.models.reference import Reference

    exact, rounded = Reference(checkpoint), Reference(checkpoint, dtype="bfloat16")
    model = load_model(checkpoint, dtype="bfloat16")
    ours, theirs = [], []
    for name in ("window_divisible", "three_images", "ragged"):
        want = exact.logits([prompts[name]])[0]
        ours.append(relative_error(one_program.logits(model, prompts[name]), want))
        theirs.append(relative_error(rounded.logits([prompts[name]])[0], want))
    assert np.mean(ours) <= 1.5 * np.mean(theirs), (ours, theirs)


# Text's width, MLP, heads and key/value heads, and the vision tower's width, MLP and heads.
WIDTHS = {
    "heads as wide as published": (896, 1184, 7, 1, 160, 428, 2),
    "7B": (3584, 18944, 28, 4, 1280, 3420, 16),
}


@pytest.mark.parametrize(
    "size", ["heads as wide as published", pytest.param("7B", marks=pytest.mark.soak)]
)
def test_layers_of_published_widths_agree_with_transformers(size, tmp_path, processor):
    """Two text layers and four vision blocks, and a small vocabulary."""
    from tests.models.reference import Reference

    width, mlp, heads, kv_heads, *of_vision = WIDTHS[size]
    source = write_tiny_checkpoint(
        tmp_path,
        tied=False,
        text={
            "hidden_size": width,
            "intermediate_size": mlp,
            "num_hidden_layers": 2,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
        },
        vision=dict(zip(("hidden_size", "intermediate_size", "num_heads"), of_vision, strict=True)),
        mrope_section=[16, 24, 24],
    )
    rng = np.random.default_rng(0)
    prompt = processor.encode(
        "<image><image>Which?", [random_image(rng, size) for size in ((140, 196), (56, 84))]
    )
    want = Reference(source).logits([prompt])[0]
    jax.clear_caches()
    assert_close(np.asarray(load_model(source, dtype="float32").logits(prompt)), want)
