"""How often a step calls its programs, and what a chip does in a call."""

from dataclasses import replace

import pytest

from perl_jax.planning.planner import mesh_for
from perl_jax.planning.work import calls_of_step, num_micro_batches, work_of

SHARDS = 4


def test_a_step_reads_every_order_and_decodes_until_the_longest_ends(recorder, config, step):
    calls = {
        name: calls_of_step(call, config, step, SHARDS) for name, call in recorder.calls.items()
    }
    # 16 orders of 40 tokens are read at once: eight places, and no more than are decoded.
    assert calls["prefill"] == calls["admit"] == 2
    # 8 places take 2 waves of 2 tokens on average, and 6 more of the longest: 10 steps of 4 a call.
    assert calls["decode"] == 3
    # However often the recorded step called it.
    more = replace(step, draws=replace(step.draws, drawn=9))
    assert calls_of_step(recorder.calls["prefill"], config, more, SHARDS) == 3
    # Once in a run, not in a step.
    assert calls["start"] == calls["copy"] == 0


def test_a_step_draws_and_reads_more_groups_than_inform(recorder, config, step):
    draws = replace(step.draws, drawn=20)
    half = replace(step, draws=draws)

    def calls(name, step):
        return calls_of_step(recorder.calls[name], config, step, SHARDS)

    # 40 orders in places for 8, and 5 waves of 2 tokens on average before the longest end.
    assert calls("prefill", half) == calls("admit", half) == 5
    assert calls("decode", half) == 4
    # Images of 20 groups in place of 8.
    assert calls("encode", half) == -(-20 * recorder.calls["encode"].count // 8)
    # The update works on those that are kept.
    assert calls("update", half) == calls("update", step)
    assert half.without_filter().orders == step.orders


def test_work_of_a_chip_is_that_of_its_shard(recorder, config):
    def work(name):
        return work_of(recorder.calls[name], config, SHARDS, vision_trained=True)

    # Two orders of 40 tokens on each of four shards.
    assert (work("prefill").tokens, work("prefill").pairs) == (80, 2 * 40**2)
    # Two places of two rollouts, four steps.
    assert (work("decode").tokens, work("decode").passes, work("decode").steps) == (16, 4, 4)
    # Four orders, each with two responses of eight tokens; the weights are read three times.
    # 34 tokens of a prompt are real, and the last token of a response is not read.
    update, scored = work("update"), work("reference")
    assert update.tokens == scored.tokens == 4 * (34 + 2 * 7)
    assert update.pairs == 4 * (40**2 + 2 * 8 * (40 + 8))
    assert (update.passes, update.image_passes, scored.passes) == (3, 3, 1)
    assert work("compact") is None


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
