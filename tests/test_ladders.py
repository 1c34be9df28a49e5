"""Ladders fit the rows, hold whatever the filters let through, and stay short."""

from dataclasses import replace

import pytest

from perl_jax.data.survey import SurveyedRow
from perl_jax.ladders import Demand, choose_ladders
from perl_jax.rollout import SamplerConfig
from perl_jax.types import Example
from perl_jax.update.packing import PackingConfig

SAMPLER, PACKING = SamplerConfig(), PackingConfig()


def row(prompts, images):
    return SurveyedRow(0, Example("a", "s", "q", (), "A"), tuple(prompts), tuple(images))


def demand(rows, **changes):
    settings = {
        "rows": rows, "held_out": (), "prompt": 400, "unit": 4, "patches": 128, "groups": 8,
        "evaluated": 0, "micro_groups": 4, "orders": 2, "permuted": 1.0, "response": 48,
        "drawn": 48,
    }  # fmt: skip
    return Demand(**settings | changes)


def choose(rows, sampler=SAMPLER, packing=PACKING, **changes):
    return choose_ladders(demand(rows, **changes), sampler, packing)


ALIKE = [row([100, 100], [64, 64])] * 50
# A tenth of the rows is ten times as large.
UNEVEN = [row([300, 300], [1000])] * 5 + [row([30, 30], [100])] * 45


def within(rungs, size):
    """The rungs up to the first that holds a size: those that such rows compile."""
    return [rung for rung in rungs if rung < size] + [min(r for r in rungs if r >= size)]


def test_rows_of_one_size_get_one_size_that_is_theirs():
    found = choose(ALIKE).packing
    assert within(found.prompt_lengths, 100) == [100]
    assert within(found.patches, 4 * 128) == [512]
    assert within(found.images, 4 * 2) == [8]
    assert found.orders == (8,)
    assert found.response_lengths == (48,)


def test_rows_of_many_sizes_get_at_most_three_for_micro_batches_like_theirs():
    rows = [row([size, size], [4 * size]) for size in range(10, 400, 3)]
    found = choose(rows, micro_groups=1).packing
    for ladder, largest in (("prompt_lengths", 400), ("patches", 1600)):
        rungs = within(getattr(found, ladder), largest)
        assert len(rungs) == 3, ladder
        assert rungs[0] < largest / 2


def test_a_few_large_rows_do_not_make_all_pay():
    found = choose(UNEVEN, micro_groups=1).packing
    assert within(found.prompt_lengths, 30) == [30]
    assert found.prompt_lengths[1] == 304


def test_the_largest_size_holds_what_the_filters_let_through():
    """Any prompt up to twice the limit, as other orders may be longer; all of it may be images."""
    for rows in (ALIKE, UNEVEN):
        found = choose(rows)
        assert found.packing.prompt_lengths[-1] >= 2 * 400
        assert found.sampler.prompt_lengths[-1] >= 2 * 400
        assert found.packing.patches[-1] >= 4 * 400 * 4
        assert found.packing.images[-1] >= 4 * 400
        assert found.packing.orders[-1] >= 4 * 2
        assert found.sampler.patches[-1] >= 128


def test_sizes_beyond_the_rows_seen_are_few():
    found = choose(ALIKE, prompt=16384).packing
    assert len(found.prompt_lengths) <= 12
    assert found.prompt_lengths[1] < 1.3 * found.prompt_lengths[0]


def test_orders_get_a_size_for_unpermuted_micro_batches_only_if_the_run_comes_to_them():
    assert choose(ALIKE, permuted=1.0).packing.orders == (8,)
    assert choose(ALIKE, permuted=0.0).packing.orders == (4, 6, 8)
    alone = [row([100], [64])] * 9
    assert choose(alone, orders=1).packing.orders == (4,)


def test_a_single_group_is_either_permuted_or_not():
    assert choose(ALIKE, micro_groups=1, permuted=0.5).packing.orders == (1, 2)


def test_long_responses_get_halves_and_short_ones_none():
    assert choose(ALIKE, response=2048).packing.response_lengths == (512, 1024, 2048)
    assert choose(ALIKE, response=200).packing.response_lengths == (200,)
    assert choose(ALIKE, response=48, drawn=1024).sampler.response_lengths == (256, 512, 1024)


def test_calls_of_the_vision_tower_hold_a_draw_a_quarter_of_one_and_an_evaluation():
    found = choose(ALIKE, held_out=ALIKE, evaluated=32).sampler
    assert found.patches == (8 * 128 // 4, 8 * 128, 32 * 128)


def test_the_few_groups_that_replace_others_of_a_large_draw_have_a_call_of_their_size():
    large = [row([4000], [8 * 128])] * 9
    found = choose(large, groups=16, patches=1024).sampler
    assert found.patches == (1024, 4 * 1024, 16 * 1024)


def test_supervised_training_without_an_evaluation_samples_nothing():
    assert choose(ALIKE, groups=0).sampler.patches[-1] >= 128


def test_a_call_of_the_vision_tower_stays_within_memory():
    rows = [row([5000], [16384])] * 20
    assert choose(rows, groups=128, patches=16384).sampler.patches[-1] <= 65536


def test_prompts_of_held_out_rows_count_for_sampling_only():
    longer = [row([200], [64])] * 10
    found = choose(ALIKE, held_out=longer, evaluated=4)
    assert 200 in found.sampler.prompt_lengths
    assert 200 not in found.packing.prompt_lengths


def test_given_ladders_stay():
    sampler = SamplerConfig(prompt_lengths=(512,), patches=(1024,))
    packing = PackingConfig(response_lengths=(64,), images=())
    found = choose(ALIKE, sampler, packing)
    assert (found.sampler.prompt_lengths, found.sampler.patches) == ((512,), (1024,))
    assert (found.packing.response_lengths, found.packing.images) == ((64,), ())
    assert found.packing.patches[0] == 512


def test_the_choice_is_a_function_of_its_arguments():
    assert choose(UNEVEN) == choose(list(UNEVEN))


def test_without_rows_everything_stays_auto():
    assert choose([]).packing == PACKING


def test_auto_without_rows_to_fit_means_sizes_for_any_rows():
    assert SAMPLER.rungs("prompt_lengths")[-1] == 16384
    assert PACKING.rungs("patches")[-1] == 131072
    assert PACKING.rungs("images") == ()
    assert replace(PACKING, images=(4,)).rungs("images") == (4,)


@pytest.mark.parametrize("name", ["prompt_lengths", "patches", "images", "orders"])
def test_every_ladder_of_the_update_rises(name):
    rungs = getattr(choose(UNEVEN, micro_groups=3).packing, name)
    assert list(rungs) == sorted(set(rungs))
