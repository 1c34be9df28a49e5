"""Memory by kind: arguments, what is made of them, and what stays beside them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.mesh import make_mesh
from perl_jax.planning.memory import Compiled, memory_by_kind
from perl_jax.planning.shapes import bytes_on_chip


def test_a_chip_holds_its_shard_of_what_is_split_and_all_of_what_is_not():
    mesh = make_mesh(fsdp=8)
    split, whole = (
        jax.ShapeDtypeStruct((800,), jnp.float32, sharding=NamedSharding(mesh, spec))
        for spec in (PartitionSpec("fsdp"), PartitionSpec())
    )
    assert [bytes_on_chip(tree) for tree in (split, whole, [split, whole])] == [400, 3200, 3600]
    # What the host gives has no sharding yet.
    assert bytes_on_chip(jax.ShapeDtypeStruct((10,), jnp.float32)) == 40


def test_kinds_of_arguments_what_they_do_not_explain_and_what_the_compiler_adds():
    kinds = memory_by_kind({"gradients": 400, "batch": 40}, {}, Compiled(448, 16, 7))
    assert kinds == {"gradients": 400, "batch": 40, "other": 8, "results": 16, "temporaries": 7}


def test_what_stays_counts_beside_a_program_and_once_where_it_is_an_argument():
    own, beside = {"caches": 400}, {"optimizer": 40, "caches": 400}
    assert memory_by_kind(own, beside, Compiled(400, 0, 0)) == {"caches": 400, "optimizer": 40}


def test_where_a_part_of_a_kind_is_an_argument_all_of_it_stays():
    assert memory_by_kind({"caches": 300}, {"caches": 400}, Compiled(300, 0, 0)) == {"caches": 400}


def test_memory_that_is_given_back_is_no_result():
    function = jax.jit(lambda gradients, batch: gradients + batch.sum(), donate_argnums=0)
    compiled = function.lower(jnp.zeros(100), jnp.zeros(10)).compile()
    needed = Compiled.of(compiled.memory_analysis())
    assert (needed.arguments, needed.results, needed.aliased) == (440, 0, 400)


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
def test_a_refusal_tells_how_much_would_be_needed(message, temporaries):
    assert Compiled.of_refusal(message, 440) == Compiled(440, 0, temporaries)


def test_another_failure_is_no_refusal():
    assert Compiled.of_refusal("INTERNAL: something else", 440) is None


def test_aliased_results_are_left_out():
    analysis = SimpleNamespace(
        argument_size_in_bytes=10,
        output_size_in_bytes=8,
        alias_size_in_bytes=6,
        temp_size_in_bytes=3,
    )
    assert Compiled.of(analysis) == Compiled(10, 2, 3, aliased=6)
