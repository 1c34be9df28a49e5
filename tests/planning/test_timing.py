"""Times of calls of another size than the compiled one."""

from dataclasses import replace

import pytest

from perl_jax.chips import GIB
from perl_jax.models import read_config
from perl_jax.planning.collectives import Collective
from perl_jax.planning.facts import Facts
from perl_jax.planning.roofline import Assumptions, traffic_of
from perl_jax.planning.simulation import Extent, LoggedCall
from perl_jax.planning.timing import Timing
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import Work

WHOLE = Work(tokens=1000, pairs=10**6, predicted=500, patches=64, passes=4, image_passes=4)
HALF = replace(WHOLE, tokens=500, pairs=5 * 10**5, predicted=250, patches=32)
# Activations have an axis of tokens, weights have none.
ACTIVATIONS = Collective("all-reduce", "bf16[1,1000,64]{2,1,0}", 128000, 4)
WEIGHTS = Collective("all-gather", "bf16[64,64]{1,0}", 8192, 8)


@pytest.fixture(scope="module")
def timing(config, step):
    sizes = read_config(config.model.path)
    return Timing(config, parse_topology("h100:8"), Assumptions(), sizes, step)


def facts(name, work, collectives=()):
    memory = {"gradients": GIB, "temporaries": GIB}
    return Facts(name, memory, 8e12, 10**9, 4e8, work, collectives, 1.0)


def test_half_the_work_takes_half_of_the_operations_and_of_activations_on_links(timing):
    update = facts("update", WHOLE, [ACTIVATIONS, WEIGHTS])
    whole, half = (timing.program(update, [LoggedCall(10**9, work)], []) for work in (WHOLE, HALF))
    assert whole.flops == 8e12
    assert half.flops == pytest.approx(4e12)
    assert whole.received - half.received == pytest.approx(ACTIVATIONS.received / 2)
    # Weights and gradients are moved as before.
    want = traffic_of(
        HALF, timing.sizes, timing.assumptions, tensor=2, itemsize=4, gradients=GIB,
        of_patch=timing.sizes.image_scores(timing.step.grid) / 16,
    )  # fmt: skip
    assert half.traffic == pytest.approx(want.total)


def test_a_program_with_kernels_writes_no_scores_and_its_kernels_take_their_share(timing):
    with_kernels = replace(facts("update", WHOLE), kernels=2e12)
    whole, half, near = (
        timing.program(with_kernels, [LoggedCall(10**9, work)], [])
        for work in (WHOLE, HALF, replace(WHOLE, pairs=0, patches=0))
    )
    plain = timing.program(facts("update", WHOLE), [LoggedCall(10**9, WHOLE)], [])
    peak = 8 * 989e12
    assert whole.seconds.compute == pytest.approx((6e12 / 0.6 + 2e12 / 0.3) / peak)
    assert half.seconds.compute == pytest.approx(whole.seconds.compute / 2)
    assert whole.traffic < plain.traffic
    # Where nothing is compared, kernels do nothing, and the rest of text takes what it took.
    grid = timing.step.grid
    text, images = (
        timing.sizes.text_operations(tokens=1000, pairs=0, predicted=500),
        64 * (timing.sizes.image_operations(grid) - timing.sizes.image_attention(grid)) / 16,
    )
    assert near.flops == pytest.approx(6e12 * text / (text + images))


def test_a_step_sums_its_calls_and_shows_their_mean(timing):
    update = facts("update", WHOLE)
    calls = [LoggedCall(10**9, work) for work in (WHOLE, HALF, HALF)]
    found = timing.program(update, calls, calls[:1])
    alone = [timing.program(update, [call], []).seconds.total for call in calls]
    assert found.seconds_of_step == pytest.approx(sum(alone))
    assert found.seconds_unfiltered == pytest.approx(alone[0])
    assert (found.calls, found.calls_unfiltered) == (3, 1)
    assert found.flops == pytest.approx(8e12 * 2 / 3)


def test_expected_seconds_are_the_compilers_cycles_with_kernels_and_links(timing):
    """3e9 cycles at 1.5 GHz, beside kernels at 30% of the peak, and a collective."""
    on_tpu = replace(timing, topology=parse_topology("v5e:2x2"))
    update = replace(facts("update", WHOLE, [WEIGHTS]), cycles=3 * 10**9, kernels=2e12)
    whole, half, none = (
        on_tpu.program(one, [LoggedCall(10**9, work)], []).expected
        for one, work in ((update, WHOLE), (update, HALF), (replace(update, cycles=None), WHOLE))
    )
    links = WEIGHTS.received / (90e9 * 0.8)
    assert whole == pytest.approx(2.0 + 2e12 / (4 * 197e12 * 0.3) + links)
    assert half - links == pytest.approx((whole - links) / 2)
    assert none is None
    # A collective that starts ahead takes no time of its own, unless it takes longer than the rest.
    ahead = replace(update, collectives=[replace(WEIGHTS, ahead=True)])
    assert on_tpu.program(ahead, [LoggedCall(10**9, WHOLE)], []).expected == pytest.approx(
        whole - links
    )
    long = replace(update, collectives=[replace(WEIGHTS, ahead=True, count=10**9)])
    found = on_tpu.program(long, [LoggedCall(10**9, WHOLE)], [])
    assert found.expected == pytest.approx(found.seconds.ahead)
    # Nothing is known of another chip's clock, nor of a program without cycles that is not called.
    assert timing.program(update, [LoggedCall(10**9, WHOLE)], []).expected is None
    assert on_tpu.program(replace(update, cycles=None), [], []).expected is None
    assert on_tpu.program(update, [], []).expected == 0


def test_what_does_not_run_the_model_moves_its_arguments_and_results(timing):
    compact = facts("compact", None)
    found = timing.program(compact, [LoggedCall(10**9, None), LoggedCall(5 * 10**8, None)], [])
    assert found.traffic == pytest.approx(4e8 * 3 / 4)
    assert found.seconds.compute == pytest.approx(8e12 * 3 / 4 / 8 / (989e12 * 0.6))


def test_the_host_is_waited_for_before_calls_that_are_not_dispatched_ahead(timing):
    decode = Work(tokens=16, pairs=160, predicted=16, passes=4, steps=4, prefix=10, cache=10)
    call, host = LoggedCall(10**9, decode), timing.assumptions.host
    found = timing.program(facts("decode", decode), [call] * 4, [call] * 2, (3, 0))
    assert found.seconds.host == pytest.approx(3 / 4 * host)
    alone = timing.program(facts("decode", decode), [call] * 4, [call] * 2)
    assert found.seconds_of_step - alone.seconds_of_step == pytest.approx(3 * host)
    assert found.seconds_unfiltered == alone.seconds_unfiltered
    assert timing.program(facts("update", WHOLE), [], []).seconds.host == 0


def test_a_longer_chunk_sends_as_much_in_each_step(timing):
    decode = Work(tokens=16, pairs=160, predicted=16, passes=4, steps=4)
    longer = replace(decode, tokens=32, pairs=320, predicted=32, passes=8, steps=8)
    program = facts("decode", decode, [WEIGHTS])
    found = timing.program(program, [LoggedCall(10**9, longer)], [])
    assert found.received == 2 * WEIGHTS.received
    assert found.flops == pytest.approx(2 * 8e12)


def test_calls_of_the_sampler_with_fewer_prompts_send_less_of_them(timing):
    of_shard = Collective("all-reduce", "bf16[13,1,64,64]{3,2,1,0}", 106496, 4)
    of_all = Collective("all-gather", "bf16[1,104,64]{2,1,0}", 13312, 8)
    # An axis of the same length that is not the first one is another.
    other = Collective("all-gather", "f32[7,13]{1,0}", 364, 8)
    prefill = facts("prefill", None, [of_shard, of_all, WEIGHTS, other])

    def sent(*rows):
        calls = [LoggedCall(10**9, None, Extent(n, n, 8)) for n in rows]
        return timing.program(prefill, calls, []).received * len(rows)

    same = WEIGHTS.received + other.received
    whole = of_shard.received + of_all.received
    assert sent(13) == pytest.approx(whole + same)
    assert sent(13, 4) == pytest.approx(whole * 17 / 13 + 2 * same, rel=1e-4)
    # Columns of rollouts shrink as well, in programs that hold more of them.
    narrow = [LoggedCall(10**9, None, Extent(13, rows, 8)) for rows in (13 * 6, 13 * 3)]
    found = timing.program(prefill, narrow, narrow[1:])
    assert found.received == pytest.approx(whole * 3 / 4 + same, rel=1e-4)


def test_a_program_that_no_step_calls_costs_nothing(timing):
    found = timing.program(facts("copy", None), [], [])
    assert (found.calls, found.seconds_of_step) == (0, 0)
    assert found.traffic == 4e8
