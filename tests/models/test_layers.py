"""Stacked layers: what their backward pass recomputes, and what it keeps on a mesh."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.mesh import SHARD_AXES, make_mesh
from perl_jax.models import read_config
from perl_jax.models.layers import GatedMLP, Linear, scan_layers, scan_layers_adding, stack
from perl_jax.models.qwen2_5_vl import vision as qwen2_5_vl
from perl_jax.models.qwen3_vl import vision as qwen3_vl
from tests.counting import count_flops

LAYERS, TOKENS, WIDTH, HIDDEN = 5, 16, 8, 24


class Layer(nnx.Module):
    """A map as wide as its input, and an MLP whose maps are wider."""

    def __init__(self, *, rngs):
        self.map = Linear(WIDTH, WIDTH, dtype=jnp.float32, rngs=rngs)
        self.mlp = GatedMLP(WIDTH, HIDDEN, bias=False, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x):
        return x + self.mlp(jnp.tanh(self.map(x)))


@pytest.fixture(scope="module")
def layers():
    return stack(LAYERS, nnx.Rngs(0), Layer)


def gradient_with(remat, layers):
    definition, state = nnx.split(layers)

    def loss(state, x):
        merged = nnx.merge(definition, state)
        y, _ = scan_layers(merged, lambda layer, x, _: (layer(x), None), x, None, remat)
        return y.sum()

    return jax.grad(loss, argnums=(0, 1)), state


def test_each_mode_recomputes_the_products_that_it_names(layers):
    x = jnp.ones((TOKENS, WIDTH))
    narrow = 2 * LAYERS * TOKENS * WIDTH * WIDTH
    gate_and_up = 2 * 2 * LAYERS * TOKENS * WIDTH * HIDDEN
    counted = {}
    for remat in ("none", "activations", "wide", "inputs", "layers"):
        gradient, state = gradient_with(remat, layers)
        counted[remat] = count_flops(gradient, state, x)
    assert counted["activations"] == counted["none"]
    # No gradient needs the result of the last map of a layer.
    assert counted["wide"] == counted["none"] + gate_and_up
    assert counted["inputs"] == counted["none"] + gate_and_up + narrow
    assert counted["layers"] == counted["inputs"]


MLPS = {
    "text": (
        lambda rngs: GatedMLP(WIDTH, HIDDEN, bias=False, dtype=jnp.float32, rngs=rngs),
        (TOKENS, WIDTH), [(TOKENS, HIDDEN)] * 2,
    ),
    "merger of Qwen2.5-VL": (
        lambda rngs: qwen2_5_vl.PatchMerger(
            read_config("Qwen/Qwen2.5-VL-7B-Instruct").vision, dtype=jnp.float32, rngs=rngs
        ),
        (TOKENS, 1280), [(TOKENS // 4, 5120)],
    ),
    "vision of Qwen3-VL": (
        lambda rngs: qwen3_vl.VisionMLP(
            read_config("Qwen/Qwen3-VL-8B-Instruct").vision, dtype=jnp.float32, rngs=rngs
        ),
        (TOKENS, 1152), [(TOKENS, 4304)],
    ),
    "merger of Qwen3-VL": (
        lambda rngs: qwen3_vl.PatchMerger(
            read_config("Qwen/Qwen3-VL-8B-Instruct").vision,
            norm_joined=False, dtype=jnp.float32, rngs=rngs,
        ),
        (TOKENS, 1152), [(TOKENS // 4, 4608)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "shape", "hidden"), MLPS.values(), ids=MLPS)
def test_products_of_the_backward_pass_read_an_mlps_gradients_when_they_are_complete(
    build, shape, hidden
):
    """Those of all maps into its inside, together; nothing holds up the forward pass."""
    definition, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def loss(state, x):
        return nnx.merge(definition, state)(x).sum()

    def barriers(function):
        text = jax.jit(function).lower(state, jax.ShapeDtypeStruct(shape, jnp.float32)).as_text()
        return re.findall(r"optimization_barrier .* : (.*)", text)

    held = ", ".join(f"tensor<{rows}x{width}xf32>" for rows, width in hidden)
    assert barriers(loss) == []
    assert barriers(jax.grad(loss, argnums=(0, 1))) == [held]


def test_what_is_kept_of_each_layer_is_split_over_the_tensor_axis(layers):
    mesh = make_mesh(1, 2, 4)
    definition, state = nnx.split(layers)
    running = [jnp.zeros(leaf.shape) for leaf in jax.tree.leaves(state)]

    def loss(running, x):
        merged = nnx.merge(definition, state)
        y = scan_layers_adding(
            merged, lambda layer, number, x, shared, context: layer(x), x, None, None, running, mesh
        )
        return (y**2).sum()

    rows = NamedSharding(mesh, PartitionSpec(SHARD_AXES))
    x = jax.ShapeDtypeStruct((2, TOKENS, WIDTH), jnp.float32, sharding=rows)
    text = jax.jit(jax.grad(loss)).lower(running, x).compile().as_text()
    assert f"f32[{LAYERS},1,{TOKENS // 4},{WIDTH}]" in text
    assert f"f32[{LAYERS},1,{TOKENS},{WIDTH}]" not in text
