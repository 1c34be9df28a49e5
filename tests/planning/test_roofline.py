"""The time of a call from its operations, bytes and collectives; figures by hand."""

from dataclasses import replace

import pytest

from perl_jax.models import read_config
from perl_jax.planning.collectives import Collective
from perl_jax.planning.roofline import (
    Assumptions,
    Seconds,
    Traffic,
    seconds_of_call,
    traffic_of,
)
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import Work

ALL = Assumptions(compute=1.0, kernels=1.0, memory=1.0, links=1.0, cache_moves=1.0, scores=0.0)
MODEL = read_config("Qwen/Qwen2.5-VL-7B-Instruct")


def traffic(work, assumptions=ALL, **settings):
    return traffic_of(work, MODEL, assumptions, **{"tensor": 1, "itemsize": 2, **settings})


def test_products_overlap_with_their_traffic_and_with_what_starts_ahead_and_all_else_is_added():
    topology = parse_topology("v5e:4x4")
    gather = Collective("all-gather", "", 16 * 180 * 10**9, group=16)
    seconds = seconds_of_call(
        topology,
        ALL,
        flops=16 * 197e12 * 3,
        traffic=Traffic(products=0.82e12 * 2, alone=0.82e12 * 4),
        collectives=[gather, replace(gather, ahead=True, count=2)],
        waits=2,
    )
    got = (seconds.compute, seconds.memory, seconds.alone, seconds.links, seconds.ahead)
    assert got == pytest.approx((3, 2, 4, 15, 30))
    assert seconds.total == pytest.approx(30 + 4 + 15 + 2 * ALL.host)
    assert seconds.bound == "links"


def test_a_call_is_bound_by_what_takes_most_of_its_time():
    assert Seconds(compute=3, memory=2, alone=2).bound == "compute"
    assert Seconds(compute=3, memory=2, alone=2).total == 5
    # Where products wait for their inputs, these count as well.
    assert Seconds(compute=1, memory=2, alone=2, links=3).bound == "memory"
    assert Seconds(host=1).bound == "host"


def test_half_of_the_peak_takes_twice_as_long():
    topology = parse_topology("v5e:4x4")
    half = replace(ALL, compute=0.5)
    seconds = seconds_of_call(topology, half, flops=16 * 197e12, traffic=Traffic(), collectives=[])
    assert (seconds.total, seconds.bound) == (pytest.approx(2), "compute")


def test_operations_of_kernels_reach_another_share_of_the_peak():
    topology = parse_topology("v5e:4x4")
    shares = replace(ALL, compute=0.5, kernels=0.25)
    seconds = seconds_of_call(
        topology, shares, flops=16 * 197e12 * 3, traffic=Traffic(), collectives=[],
        kernels=16 * 197e12,
    )  # fmt: skip
    assert seconds.compute == pytest.approx(2 / 0.5 + 1 / 0.25)


def test_kernels_write_no_scores_and_move_the_caches_once_unless_it_is_said_otherwise():
    as_compiled = replace(ALL, scores=None, cache_moves=None)
    work = Work(pairs=1000, steps=1, passes=1, prefix=10**7, cache=10**8)
    scores = 1000 * 28 * 28 * 12
    assert traffic(work, as_compiled, kernels=True).alone == 10**7 + 10**8
    assert traffic(work, as_compiled, kernels=False).alone == 10**7 + 5 * 10**8 + scores
    half = replace(work, owned=0.5)
    assert traffic(half, as_compiled, kernels=True).alone == 10**7 + 10**8 / 2
    assert traffic(half, as_compiled, kernels=False).alone == 10**7 + 5 * 10**8 + scores
    said = replace(ALL, scores=0.5, cache_moves=2.0)
    assert traffic(work, said, kernels=True).alone == 10**7 + 2 * 10**8 + 0.5 * scores
    told, said_so = " ".join(as_compiled.lines()), " ".join(said.lines())
    assert "compiled without attention kernels" in told
    assert "once by a kernel, which reads what responses own, and 5 times without" in told
    assert "attention scores, 50% of them, 12 bytes" in said_so
    assert "the responses' 2 times" in said_so


def test_decoding_reads_all_weights_and_caches_at_every_step():
    moved = traffic(Work(steps=32, passes=32, prefix=10**8, cache=10**9))
    # 7.07e9 parameters of the language model and its head are 14.1 GB in bfloat16.
    assert moved.products / 32 == pytest.approx(14.14e9, rel=0.01)
    assert moved.alone / 32 == 1.1e9
    often = traffic(Work(steps=1, passes=1, cache=10**9), replace(ALL, cache_moves=5.0))
    assert often.alone == 5e9


def test_a_tensor_axis_divides_the_weights_that_a_chip_reads():
    whole, quarter = (traffic(Work(passes=1), tensor=n) for n in (1, 4))
    assert whole.total == 4 * quarter.total


def test_attention_scores_move_12_bytes_forward_42_with_gradients_and_54_with_recomputation():
    # Of each pair there is a score of each of 28 layers and 28 heads.
    for passes, size in ((1, 12), (3, 42), (4, 54)):
        without, written = (
            traffic(Work(pairs=1000, passes=passes), replace(ALL, scores=share)).alone
            for share in (0.0, 1.0)
        )
        assert written - without == 1000 * 28 * 28 * size
    half = traffic(Work(pairs=1000, steps=4, passes=4), replace(ALL, scores=0.5))
    assert half.alone == 0.5 * 1000 * 28 * 28 * 12
    of_images = Work(patches=10, image_passes=4)
    without, written = (
        traffic(of_images, replace(ALL, scores=share), of_patch=7.0).alone for share in (0.0, 1.0)
    )
    assert written - without == pytest.approx(10 * 7 * 54)


def test_what_stands_between_products_moves_their_inputs_and_results_once_more():
    weights = traffic(Work(passes=1)).products
    moved = traffic(Work(tokens=100, passes=1))
    assert moved.products - weights == moved.alone == 100 * MODEL.traffic(1).of_token * 2
    assert traffic(Work(), gradients=50).alone == 100


@pytest.mark.parametrize("name", ["compute", "memory", "links"])
def test_a_share_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected a share from above 0 to 1; got 0"):
        Assumptions(**{name: 0.0})
