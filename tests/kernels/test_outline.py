"""Programs with kernels for GPUs, compiled for a CPU, where the kernels are calls."""

import re

import jax
import jax.numpy as jnp
import pytest

from perl_jax.attention import KeyValues, attend
from perl_jax.flops import count_in_jaxpr, count_in_kernels
from perl_jax.kernels import Kernel
from perl_jax.mesh import make_mesh
from tests.kernels.step import traced

OUTLINE = Kernel("gpu", outline=True)


@pytest.fixture(scope="module")
def programs():
    """Those of a step on a mesh, by what attends."""
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    kernels = {"outline": OUTLINE, "kernel": Kernel("gpu"), "xla": None}
    return {name: traced(mesh, kernel) for name, kernel in kernels.items()}


@pytest.mark.parametrize("name", ["update", "score", "encode", "prefill", "decode"])
def test_the_operations_of_a_program_are_those_of_the_one_for_gpus(name, programs):
    counts = {
        by: [count(one[name].jaxpr, steps=8) for count in (count_in_jaxpr, count_in_kernels)]
        for by, one in programs.items()
    }
    assert counts["outline"] == counts["kernel"]
    assert counts["xla"][1] == 0
    # Blocks are padded, and those beyond a causal bound are passed over.
    assert 0.9 < counts["outline"][0] / counts["xla"][0] < 1.3


@pytest.mark.parametrize("name", ["prefill", "encode"])
def test_a_compiled_program_has_one_call_in_place_of_attention(name, programs):
    texts = {by: programs[by][name].lower().compile().as_text() for by in ("outline", "xla")}
    calls = {
        by: len(re.findall(r"custom_call_target=.*callback", text)) for by, text in texts.items()
    }
    # In the loop over layers.
    assert calls == {"outline": 1, "xla": 0}


def test_kernels_count_the_products_of_all_pairs_of_their_blocks():
    heads, width, length = 2, 16, 130
    own = jax.ShapeDtypeStruct((1, 1, length, heads, width), jnp.float32)
    valid = jnp.ones((1, 1, length), bool)

    def loss(queries, keys, values):
        return attend(queries, KeyValues(keys, values, valid), kernel=Kernel("gpu")).sum()

    pairs = heads * 192**2  # blocks of 64
    products = {"forward": 2, "for queries": 3, "for keys and values": 4}
    forward = jax.make_jaxpr(loss)(own, own, own)
    assert count_in_kernels(forward) == 2 * width * pairs * products["forward"]
    both = jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(own, own, own)
    assert count_in_kernels(both) == 2 * width * pairs * sum(products.values())


def test_what_is_outlined_for_a_cpu_stays_a_kernel_for_a_gpu(programs):
    text = programs["outline"]["prefill"].lower(lowering_platforms=("cuda",)).as_text()
    assert "__gpu$xla.gpu.triton" in text
    assert "callback" not in text


def test_it_cannot_be_run():
    heads = jnp.ones((1, 1, 128, 2, 16))
    own = KeyValues(heads, heads, jnp.ones((1, 1, 128), bool))
    with pytest.raises(Exception, match="on a CPU its programs can only be planned"):
        jax.block_until_ready(attend(heads, own, kernel=OUTLINE))
