"""Operations by formula, against those counted in the model's own programs."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from perl_jax.models.prompts import pack_prompts
from perl_jax.models.qwen2_5_vl.inputs import window_order
from tests.counting import count_flops
from tests.models.fixtures import random_image


@pytest.fixture
def prompt(processor):
    return processor.encode("Which is the largest digit?", [])


def counted(model, function, *arguments):
    """What a function of the model and arrays multiplies, by its jaxpr."""
    definition, state = nnx.split(model)
    return count_flops(lambda state, *rest: function(nnx.merge(definition, state), *rest), state,
                       *arguments)  # fmt: skip


def test_text_that_is_read_and_predicted_costs_what_its_program_multiplies(model, prompt):
    length = len(prompt.tokens)
    inputs = pack_prompts([prompt], model.config, length=length)

    def logits(model, inputs):
        return model.unembed(model.prefill(inputs)[0])

    # The program multiplies every pair of tokens and masks half of them away.
    want = model.config.text_operations(tokens=length, pairs=length**2, predicted=length)
    assert counted(model, logits, inputs) == want


def test_the_last_layer_reads_only_keys_and_values_of_tokens_that_are_not_wanted(model, prompt):
    text, length = model.config.text, len(prompt.tokens)
    inputs = pack_prompts([prompt], model.config, length=length)

    def count(wanted):
        return counted(model, lambda model, inputs: model.prefill(inputs, wanted=wanted), inputs)

    *heads_of, width = model.config.attention_heads
    heads, held = (count * width for count in heads_of)
    # Maps before and after attention, the MLP; keys and values that each query is compared with.
    saved = (length - 1) * (
        2 * text.hidden_size * heads
        + 3 * text.hidden_size * text.intermediate_size
        + 2 * heads * length
    )
    # What is traced and never computed: queries of all tokens, keys and values of the last.
    traced = text.hidden_size * (length * heads + 2 * held)
    assert count(None) - count(np.array([[length - 1]])) == 2 * (saved - traced)


def test_an_image_costs_what_its_program_multiplies(model, processor):
    # One window, so that neither kind of attention is padded.
    image = processor.preprocess(random_image(np.random.default_rng(0), (112, 112)))
    config = model.config
    sizes = config.image_sizes([[image.grid]], num_patches=len(image.patches), num_images=1)
    inputs = sizes.pack([image])
    got = counted(model, lambda model, images: model.encode_images(images), inputs)
    assert got == config.image_operations(image.grid)


@pytest.mark.parametrize("grid", [(8, 8), (12, 20), (2, 2), (10, 26)])
def test_a_block_that_attends_within_windows_costs_less_by_the_pairs_across_them(grid, model):
    vision = model.config.vision
    blocks = tuple(range(vision.depth))
    whole, windowed = (
        dataclasses.replace(
            model.config, vision=dataclasses.replace(vision, full_attention_blocks=full)
        )
        for full in (blocks, blocks[1:])
    )
    _, units = window_order(grid, vision)
    pairs = (grid[0] * grid[1]) ** 2 - int(((units * vision.patches_per_unit) ** 2).sum())
    saved = whole.image_operations(grid) - windowed.image_operations(grid)
    # A product with the keys and one with the values, of all heads: two operations each.
    assert saved == 4 * vision.hidden_size * pairs


def test_where_inputs_of_its_layers_are_kept_the_tower_is_read_once_less(model, processor):
    image = processor.preprocess(random_image(np.random.default_rng(0), (112, 112)))
    sizes = model.config.image_sizes([[image.grid]], num_patches=len(image.patches), num_images=1)
    images = jax.tree.map(lambda part: part[None], sizes.pack([image]))
    definition, state = nnx.split(model)

    def gradient(remat):
        def total(state):
            return nnx.merge(definition, state).encode_shards(images, remat).sum()

        return count_flops(jax.grad(total), state)

    forward = model.config.image_operations(image.grid)
    # No gradient needs the result of the merger's last map.
    assert 0.95 * forward < gradient("layers") - gradient("inputs") < forward
    assert gradient("inputs") - gradient("none") < 0.7 * forward


def test_gradients_cost_twice_what_they_are_the_gradients_of_and_the_scores_again(model, prompt):
    length = len(prompt.tokens)
    inputs = pack_prompts([prompt], model.config, length=length)

    def total(model, inputs):
        return model.unembed(model.prefill(inputs)[0]).sum()

    forward = counted(model, total, inputs)
    definition, state = nnx.split(model)
    gradient = jax.grad(lambda state: total(nnx.merge(definition, state), inputs))
    # Scores are half of what attention computes.
    of_pairs = model.config.text_operations(tokens=0, pairs=length**2, predicted=0)
    assert count_flops(gradient, state) == 3 * forward + of_pairs // 2
