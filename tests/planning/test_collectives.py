"""Collectives of compiled programs, counted by hand."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.mesh import make_mesh
from perl_jax.planning.collectives import Collective, find_collectives, received_bytes

ROWS, WIDTH, LAYERS = 16, 64, 5


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(fsdp=2, tensor=4)


def compiled(mesh, function, *arguments):
    """The text of a program of ``(array, partition)`` arguments."""
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec)))
        for shape, spec in arguments
    ]
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.jit(function, out_shardings=whole).lower(*shapes).compile().as_text()


def test_a_gathered_array_comes_from_the_other_chips(mesh):
    program = compiled(mesh, lambda x: x, ((ROWS, WIDTH), ("tensor", None)))
    (gather,) = find_collectives(program, 8)
    assert (gather.kind, gather.bytes, gather.group) == ("all-gather", ROWS * WIDTH * 4, 4)
    # Three of four parts are elsewhere.
    assert gather.received == ROWS * WIDTH * 4 * 3 / 4


def test_a_sum_over_chips_is_sent_twice_around_the_ring(mesh):
    program = compiled(mesh, partial(jnp.sum, axis=0), ((ROWS, WIDTH), ("fsdp", None)))
    (reduce,) = find_collectives(program, 8)
    assert (reduce.kind, reduce.bytes, reduce.group) == ("all-reduce", WIDTH * 4, 2)
    assert reduce.received == 2 * WIDTH * 4 / 2


def test_a_loop_counts_its_trips(mesh):
    def layers(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    x = ((ROWS, WIDTH), (None, None))
    program = compiled(mesh, layers, x, ((LAYERS, WIDTH, WIDTH), (None, "tensor", None)))
    reduce, gather = find_collectives(program, 8)
    # Every layer sums its partial products over the four chips that hold rows of its matrix.
    assert (reduce.kind, reduce.bytes, reduce.group) == ("all-reduce", ROWS * WIDTH * 4, 4)
    assert reduce.count == LAYERS
    assert reduce.received == LAYERS * 2 * ROWS * WIDTH * 4 * 3 / 4
    # The result alone is gathered once.
    assert (gather.kind, gather.count) == ("all-gather", 1)


def test_loops_within_loops_multiply(mesh):
    def layers(x, weights):
        def step(x, _):
            return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0], None

        return jax.lax.scan(step, x, None, length=3)[0]

    x = ((ROWS, WIDTH), (None, None))
    program = compiled(mesh, layers, x, ((LAYERS, WIDTH, WIDTH), (None, "tensor", None)))
    reduces = [one for one in find_collectives(program, 8) if one.kind == "all-reduce"]
    assert sum(one.count for one in reduces) == 3 * LAYERS


def test_a_loop_without_a_bound_runs_as_often_as_it_is_told(mesh):
    def halve(x):
        return jax.lax.while_loop(lambda x: jnp.max(x) > 0.5, lambda x: x / 2, x)

    program = compiled(mesh, halve, ((ROWS, WIDTH), ("fsdp", None)))
    once, often = (received_bytes(find_collectives(program, 8, trips=n)) for n in (1, 7))
    assert 0 < once < often


def test_a_program_on_its_own_sends_nothing(mesh):
    program = compiled(mesh, lambda x: x @ x, ((ROWS, ROWS), (None, None)))
    assert find_collectives(program, 8) == []


def test_what_a_tpu_program_starts_and_finishes_apart_is_counted_once():
    """Cut from a program for a v5e: an asynchronous gather in three fusions, a scattered sum."""
    program = (Path(__file__).parent / "tpu_program.hlo").read_text()
    found = find_collectives(program, 16)
    assert [(one.kind, one.bytes, one.group, one.count) for one in found] == [
        ("all-gather", 4096 * 1024 * 2, 4, 28),
        ("reduce-scatter", 256 * 4096 * 2, 4, 28),
        ("collective-permute", 24 * 1024 * 2, 2, 28),
        ("all-gather", 256 * 4096 * 2, 4, 28),
    ]


@pytest.mark.parametrize(
    ("kind", "received"),
    [("all-gather", 750), ("reduce-scatter", 750), ("all-reduce", 1500), ("all-to-all", 750)],
)
def test_a_ring_of_four_moves_three_quarters(kind, received):
    assert Collective(kind, "f32[250]", 1000, group=4).received == received


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="expected the text of a compiled program"):
        find_collectives("HloModule empty", 8)


def test_what_is_started_ahead_runs_while_the_chip_computes():
    program = """
ENTRY %main (x: f32[16]) -> f32[64] {
  %x = f32[16]{0} parameter(0)
  %started = (f32[16]{0}, f32[64]{0}) all-gather-start(%x), replica_groups={{0,1,2,3}}
  %done = f32[64]{0} all-gather-done(%started)
  ROOT %sum = f32[64]{0} all-reduce(%done), replica_groups={{0,1,2,3}}
}
"""
    found = {one.kind: one.ahead for one in find_collectives(program, 4)}
    assert found == {"all-gather": True, "all-reduce": False}


def test_a_collective_shrinks_with_the_axes_that_do():
    one = Collective("all-reduce", "bf16[2,1000,64]{2,1,0:T(8,128)}", 256000, 4)
    assert one.scaled({1000: 0.5, 8: 0.1}).bytes == 128000
    assert one.scaled({}) == one
    assert one.scaled({}, 3).bytes == 3 * 256000
    several = Collective("all-reduce", "(f32[1000]{0}, f32[4]{0})", 4016, 4)
    assert several.scaled({1000: 0.5}).bytes == 2008


GATHER = "f32[64]{0} all-gather(%x), replica_groups={{0,1,2,3}}"


def test_a_computation_that_is_started_and_finished_runs_once():
    program = f"""
%inner (x: f32[16]) -> f32[64] {{
  ROOT %gathered = {GATHER}
}}

ENTRY %main (x: f32[16]) -> f32[64] {{
  %started = ((f32[16]{{0}}), f32[64]{{0}}) async-start(%x), calls=%inner
  ROOT %done = f32[64]{{0}} async-done(%started), calls=%inner
}}
"""
    assert [one.count for one in find_collectives(program, 4)] == [1]


def test_a_conditional_counts_as_the_branch_that_receives_most():
    program = f"""
%sums (x: f32[16]) -> f32[64] {{
  %sum = f32[1]{{0}} all-reduce(%x), replica_groups={{{{0,1,2,3}}}}
  ROOT %again = f32[1]{{0}} all-reduce(%x), replica_groups={{{{0,1,2,3}}}}
}}

%gathers (x: f32[16]) -> f32[64] {{
  ROOT %gathered = {GATHER}
}}

ENTRY %main (x: f32[16]) -> f32[64] {{
  ROOT %one = f32[64]{{0}} conditional(%n, %x, %x), branch_computations={{%sums, %gathers}}
}}
"""
    assert [one.kind for one in find_collectives(program, 4)] == ["all-gather"]
