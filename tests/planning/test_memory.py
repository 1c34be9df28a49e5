"""Memory by kind: what goes in, what is made, and what stays beside it."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.mesh import make_mesh
from perl_jax.planning.memory import Compiled, memory_by_kind
from perl_jax.planning.programs import Program


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(fsdp=8)


def array(mesh, size, *spec):
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    return jax.ShapeDtypeStruct((size,), jnp.float32, sharding=sharding)


def program(mesh):
    split, whole = array(mesh, 800, "fsdp"), array(mesh, 10)
    function = jax.jit(lambda gradients, batch: gradients + batch.sum(), donate_argnums=0)
    return Program("update", 1, function, (split, whole), {"gradients": split, "batch": whole})


def test_a_chip_holds_its_shard_of_what_is_split_and_all_of_what_is_not(mesh):
    kinds = memory_by_kind(program(mesh), Compiled(440, 0, 7), {})
    assert kinds == {"gradients": 400, "batch": 40, "temporaries": 7}


def test_what_stays_counts_beside_a_program_and_once_where_it_is_an_argument(mesh):
    resident = {"optimizer": array(mesh, 80, "fsdp"), "batch": array(mesh, 10)}
    kinds = memory_by_kind(program(mesh), Compiled(448, 16, 0), resident)
    assert kinds == {"gradients": 400, "batch": 40, "optimizer": 40, "other": 8, "results": 16}


def test_what_lies_beside_a_program_counts_too(mesh):
    one = replace(program(mesh), beside={"caches": array(mesh, 160, "fsdp")})
    kinds = memory_by_kind(one, Compiled(440, 0, 7), {"caches": array(mesh, 8)})
    assert kinds == {"gradients": 400, "batch": 40, "caches": 80, "temporaries": 7}


def test_memory_that_is_given_back_is_no_result(mesh):
    compiled = program(mesh).trace().lower().compile()
    needed = Compiled.of(compiled.memory_analysis())
    assert needed.arguments == 440
    assert needed.results == 0


@pytest.mark.parametrize(
    ("message", "temporaries"),
    [
        # What libtpu says of a program on a v5e that was too large.
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total "
            "memory required for HLO temporaries (21.50K) exceeds available HBM (15.75K).",
            22016,
        ),
        ("Ran out of memory in memory space hbm. Used 17.50K of 15.75K hbm.", 17920 - 440),
    ],
)
def test_a_refusal_tells_how_much_would_be_needed(mesh, message, temporaries):
    assert Compiled.of_refusal(message, program(mesh)) == Compiled(440, 0, temporaries)


def test_another_failure_is_no_refusal(mesh):
    assert Compiled.of_refusal("INTERNAL: something else", program(mesh)) is None


def test_aliased_results_are_left_out():
    analysis = SimpleNamespace(
        argument_size_in_bytes=10,
        output_size_in_bytes=8,
        alias_size_in_bytes=6,
        temp_size_in_bytes=3,
    )
    assert Compiled.of(analysis) == Compiled(10, 2, 3)
