"""What a chip does in a call."""

from dataclasses import replace

import pytest

from perl_jax.models import read_config
from perl_jax.planning.planner import mesh_for
from perl_jax.planning.work import Work, num_micro_batches, owned_share, work_of

SHARDS = 4


def test_work_of_a_chip_is_that_of_its_shard(recorder, config):
    def work(name):
        return work_of(recorder.calls[name], config, SHARDS, vision_trained=True)

    # Two orders of 40 tokens on each of four shards.
    assert (work("prefill").tokens, work("prefill").pairs) == (80, 2 * 40**2)
    # Two places of two rollouts, four steps.
    decode = work("decode")
    assert (decode.tokens, decode.predicted, decode.passes, decode.steps) == (16, 16, 4, 4)
    # Room for 40 tokens of the prompt, and for 8 of the response and a chunk of 4.
    assert decode.pairs == 16 * (40 + 12)
    # Keys and values in float32; a single key/value head is not split.
    layers, heads, width = read_config(config.model.path).cache_sizes
    of_token = 2 * layers * heads * width * 4
    assert heads == 1
    assert decode.cache == 2 * 2 * 12 * of_token
    assert decode.prefix == 2 * 40 * (of_token + 1)
    # Four orders, each with two responses of eight tokens; the weights are read three times.
    # 34 tokens of a prompt are real, and the last token of a response is not read.
    update, scored = work("update"), work("reference")
    assert update.tokens == scored.tokens == 4 * (34 + 2 * 7)
    assert update.pairs == 4 * (40**2 + 2 * 8 * (40 + 8))
    assert (update.passes, update.image_passes, scored.passes) == (3, 3, 1)
    # The last token of every response is predicted too.
    assert update.predicted == 4 * 2 * 8
    assert work("compact") is None


@pytest.mark.parametrize(
    ("remat", "passes", "of_images"),
    [("none", 3, 3), ("activations", 3, 3), ("wide", 4, 4), ("inputs", 4, 4), ("layers", 4, 5)],
)
@pytest.mark.parametrize("trained", [True, False])
def test_weights_are_read_again_for_what_an_update_did_not_keep(
    recorder, config, remat, passes, of_images, trained
):
    config = replace(config, learner=replace(config.learner, remat=remat))
    work = work_of(recorder.calls["update"], config, SHARDS, vision_trained=trained)
    assert (work.passes, work.image_passes) == (passes, of_images if trained else 1)
    scored = work_of(recorder.calls["reference"], config, SHARDS, vision_trained=trained)
    assert (scored.passes, scored.image_passes) == (1, 1)


def test_operations_of_a_call_are_those_of_its_tokens_pairs_and_patches():
    sizes = read_config("Qwen/Qwen2.5-VL-7B-Instruct")
    once = Work(tokens=10, pairs=100, predicted=3, patches=8)
    text = sizes.text_operations(tokens=10, pairs=100, predicted=3)
    assert once.operations(sizes, of_patch=5) == text + 40


@pytest.mark.parametrize(
    ("micro_groups", "shards", "expected"), [(8, 4, (2, 1)), (4, 4, (1, 2)), (1, 1, (1, 8))]
)
def test_micro_batches_of_an_update(config, micro_groups, shards, expected):
    packing = replace(config.learner.packing, micro_groups=micro_groups)
    config = replace(config, learner=replace(config.learner, packing=packing))
    assert num_micro_batches(config, shards) == expected


def test_fsdp_takes_the_chips_that_a_configuration_does_not_name(config):
    mesh, notes = mesh_for(config, 16)
    assert (mesh.fsdp, mesh.tensor) == (8, 2)
    assert notes == ["mesh.fsdp is 8 here, as there are 16 chips (not 4)"]
    assert mesh_for(replace(config, mesh=None), 16)[0].fsdp == 16
    with pytest.raises(ValueError, match="data x tensor to divide 9 chips; got 1 x 2"):
        mesh_for(config, 9)


def test_a_kernel_reads_the_blocks_of_a_cache_that_are_filled():
    assert owned_share(2080, 32) == 256 / 2080
    assert owned_share(2080, 257) == 512 / 2080
    assert owned_share(2080, 2080) == 1
    assert owned_share(128, 32) == 1
