"""The slowest of computing, memory and links bounds a call; figures by hand."""

import pytest

from perl_jax.models import read_config
from perl_jax.planning.collectives import Collective
from perl_jax.planning.roofline import Assumptions, seconds_of_call, traffic_of
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import Work

ALL = Assumptions(compute=1.0, memory=1.0, links=1.0)


def test_a_call_takes_as_long_as_the_slowest_of_three():
    topology = parse_topology("v5e:4x4")
    gather = Collective("all-gather", "", 16 * 180 * 10**9, group=16)
    seconds = seconds_of_call(
        topology, ALL, flops=16 * 197e12 * 3, traffic=0.82e12 * 2, collectives=[gather]
    )
    assert (seconds.compute, seconds.memory, seconds.links) == pytest.approx((3, 2, 15))
    assert (seconds.total, seconds.bound) == (pytest.approx(15), "links")


def test_half_of_the_peak_takes_twice_as_long():
    topology = parse_topology("v5e:4x4")
    half = Assumptions(compute=0.5, memory=1.0, links=1.0)
    seconds = seconds_of_call(topology, half, flops=16 * 197e12, traffic=0, collectives=[])
    assert (seconds.total, seconds.bound) == (pytest.approx(2), "compute")


def test_decoding_reads_all_weights_and_caches_at_every_step():
    model = read_config("Qwen/Qwen2.5-VL-7B-Instruct")
    work = Work(steps=32, passes=32)
    moved = traffic_of(work, model, {"caches": 10**9}, tensor=1, itemsize=2)
    # 7.07e9 parameters of the language model and its head are 14.1 GB in bfloat16.
    assert moved / 32 == pytest.approx(14.14e9 + 1e9, rel=0.01)


def test_a_tensor_axis_divides_the_weights_that_a_chip_reads():
    model = read_config("Qwen/Qwen2.5-VL-7B-Instruct")
    work = Work(passes=1)
    whole, quarter = (traffic_of(work, model, {}, tensor=n, itemsize=2) for n in (1, 4))
    assert whole == 4 * quarter


def test_caches_beside_a_program_that_does_not_decode_are_not_read():
    model = read_config("Qwen/Qwen2.5-VL-3B-Instruct")
    assert traffic_of(Work(), model, {"caches": 100}, tensor=1, itemsize=2) == 0


@pytest.mark.parametrize("name", ["compute", "memory", "links"])
def test_a_share_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected a share from above 0 to 1; got 0"):
        Assumptions(**{name: 0.0})
