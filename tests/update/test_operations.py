"""Operations of an update of adapters: by hand, and against those of the gradient's own program."""

import jax
import numpy as np
import pytest
from flax import nnx

from perl_jax.models.lora import LoraConfig, is_adapter, with_adapters
from perl_jax.models.paths import leaves_of
from perl_jax.models.prompts import pack_prompts
from perl_jax.types import Responses
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.operations import Adapters, Operations, forward_operations
from perl_jax.update.optimizer import OptimizerConfig
from tests.counting import count_flops
from tests.update.cases import OBJECTIVE, make_group

ONCE = Operations(
    vision=10, text=100, of_patches=4, of_tokens=20, tokens=7, predicted=3, patches=8, units=2
)
OF_TEXT = LoraConfig(rank=3, alpha=6.0)
EVERY = LoraConfig(rank=3, alpha=6.0, paths=(".*",))


def test_weights_under_adapters_get_no_gradient_but_attention_costs_three_passes():
    # The pass, the gradient of the inputs of its maps, and attention once more; the vision tower,
    # which has no adapter, is only read. Each number of an adapter: three multiply-adds a token.
    assert ONCE.update_of(Adapters(token=5)) == 2 * 100 + 20 + 10 + 3 * 2 * 7 * 5
    assert ONCE.update_of(Adapters(predicted=5)) == 2 * 100 + 20 + 10 + 3 * 2 * 3 * 5
    both = ONCE.update_of(Adapters(token=5, patch=1, unit=9))
    assert both == 2 * 100 + 20 + 2 * 10 + 4 + 3 * 2 * (7 * 5 + 8 * 1 + 2 * 9)


def test_attention_of_frozen_text_costs_three_passes_too():
    assert ONCE.update(vision_trained=True, text_trained=False) == 2 * 100 + 20 + 3 * 10
    assert ONCE.update(vision_trained=False, text_trained=True) == 3 * 100 + 10


def test_adapters_are_sorted_by_what_their_maps_read():
    found = Adapters.of(
        {
            "text.layers.mlp.up_proj.lora_A": 1,
            "text.layers.mlp.up_proj.lora_B": 2,
            "lm_head.lora_A": 10,
            "vision.blocks.attn.qkv.lora_A": 100,
            "vision.merger.linear_fc1.lora_A": 1000,
        }
    )
    assert found == Adapters(token=3, predicted=10, patch=100, unit=1000)


def test_the_gradient_of_adapters_multiplies_what_is_counted(model, processor):
    prompt = processor.encode("Which is the largest digit?", [])
    length, policy = len(prompt.tokens), with_adapters(model, OF_TEXT, seed=0)
    inputs = pack_prompts([prompt], model.config, length=length)
    definition, state = nnx.split(policy)
    leaves = {path: leaf.get_value() for path, leaf in leaves_of(state).items()}
    adapters = {path: leaf for path, leaf in leaves.items() if is_adapter(path)}

    def loss(adapters):
        flat = [(p, v.replace(adapters.get(".".join(map(str, p)), v.get_value())))
                for p, v in nnx.to_flat_state(state)]  # fmt: skip
        merged = nnx.merge(definition, nnx.from_flat_state(flat))
        return merged.unembed(merged.prefill(inputs)[0]).sum()

    # The program multiplies every pair of tokens and masks half of them away.
    sizes = {"tokens": length, "pairs": length**2, "predicted": length}
    count = model.config.text_operations
    once = Operations(
        vision=0, text=count(**sizes), of_tokens=count(tokens=0, pairs=length**2, predicted=0),
        tokens=length, predicted=length,
    )  # fmt: skip
    numbers = Adapters.of({path: leaf.size for path, leaf in adapters.items()})
    # It also computes scores again, half of attention.
    again = count(tokens=0, pairs=length**2, predicted=0) // 2
    assert count_flops(jax.grad(loss), adapters) == once.update_of(numbers) + again


@pytest.mark.parametrize("lora", [None, OF_TEXT, EVERY])
def test_a_learner_counts_what_it_trains(lora, model, processor):
    policy = model if lora is None else with_adapters(model, lora, seed=0)
    learner = Learner(
        policy, processor.banned_rows(model.config.vocab_size),
        config=UpdateConfig(lora=lora), optimizer=OptimizerConfig(), total_updates=1,
        objective=OBJECTIVE,
    )  # fmt: skip
    group = make_group(processor, "two", [(84, 112), (56, 56)], [[0, 1], [1, 0]])
    responses = Responses(np.zeros((1, 2, 2, 3), np.int32), np.array([[[3, 1], [0, 2]]], np.int32))
    once = forward_operations(model.config, (group,), responses)
    assert once.patches == sum(image.num_patches for image in group.images)
    update = once.update(vision_trained=True, text_trained=True)
    if lora is not None:
        sizes = {path: leaf.size for path, leaf in learner.policy.split(policy).items()}
        numbers = Adapters.of(sizes)
        assert numbers.of_vision == (lora is EVERY)
        update = once.update_of(numbers)
    # The reference scores once; the only update needs no old log-probabilities.
    assert learner.operations_of((group,), responses) == update + once.forward()
