"""How parameters lie on a mesh: heads stay whole, and nothing is held twice that can be split."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from perl_jax.mesh import AXES, make_mesh
from perl_jax.models import abstract_model, load_model, parse_config
from tests.models.published import published_config

ATTENTION = "text.layers.self_attn."
# What the table in the module's docstring says: are queries, are keys and values split?
SPLIT = {
    ("3B", 2): (True, True), ("3B", 4): (True, False), ("3B", 8): (True, False),
    ("3B", 16): (True, False), ("3B", 3): (False, False),
    ("7B", 2): (True, True), ("7B", 4): (True, True), ("7B", 8): (False, False),
    ("7B", 16): (False, False), ("7B", 3): (False, False),
    ("32B", 2): (True, True), ("32B", 4): (True, True), ("32B", 8): (True, True),
    ("32B", 16): (False, False), ("32B", 3): (False, False),
    ("72B", 2): (True, True), ("72B", 4): (True, True), ("72B", 8): (True, True),
    ("72B", 16): (True, False), ("72B", 3): (False, False),
}  # fmt: skip


def abstract_mesh(fsdp, tensor):
    return AbstractMesh((1, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3)


@pytest.fixture(scope="module")
def shapes():
    """By size, the configuration and every parameter's shape."""
    found = {}
    for size in ("3B", "7B", "32B", "72B"):
        config = parse_config(published_config(size))
        state = nnx.to_flat_state(nnx.state(abstract_model(config, dtype=np.dtype("float32"))))
        found[size] = config, {".".join(path): leaf.shape for path, leaf in state}
    return found


@pytest.mark.parametrize(("size", "tensor"), SPLIT)
def test_a_device_holds_whole_heads_and_its_share_of_every_matrix(size, tensor, shapes):
    config, of_path = shapes[size]
    mesh = abstract_mesh(4, tensor)
    shards = {
        path: config.sharding(path, shape, mesh).shard_shape(shape)
        for path, shape in of_path.items()
    }
    queries, keys = SPLIT[size, tensor]
    heads = [("q_proj", queries, 1), ("o_proj", queries, 2), ("k_proj", keys, 1)]
    for name, split, axis in [*heads, ("v_proj", keys, 1)]:
        path = f"{ATTENTION}{name}.weight"
        assert shards[path][axis] * (tensor if split else 1) == of_path[path][axis]
        assert shards[path][axis] % config.text.head_dim == 0
    for path, shape in of_path.items():
        if len(shape) < 2 or path.endswith((".bias", "norm.weight", "norm1.weight")):
            continue
        share = np.prod(shards[path]) / np.prod(shape)
        # No axis of a matrix of these models is a multiple of three, but those of 3,420 units and
        # of 27,648 and 152,064; the small patch embedding is split over fsdp alone.
        if tensor != 3 and "embed.weight" not in path and "norm" not in path:
            assert share == 1 / (4 * tensor), path
        assert share <= 1 / 4 or "norm" in path, path


def test_a_bias_lies_as_the_rows_of_its_matrix(shapes):
    config, of_path = shapes["3B"]
    for tensor, queries, keys in [(2, "tensor", "tensor"), (4, "tensor", None)]:
        mesh = abstract_mesh(2, tensor)
        for name, axis in [("q_proj", queries), ("k_proj", keys)]:
            path = f"{ATTENTION}{name}.bias"
            spec = config.sharding(path, of_path[path], mesh).spec
            assert spec == PartitionSpec(None, axis)


def test_the_fused_map_of_the_vision_tower_is_split_along_its_input(shapes):
    config, of_path = shapes["7B"]
    path = "vision.blocks.attn.qkv.weight"
    spec = config.sharding(path, of_path[path], abstract_mesh(2, 2)).spec
    assert spec == PartitionSpec(None, None, ("fsdp", "tensor"))


@pytest.mark.parametrize("shape", [(1, 1, 8), (1, 2, 4), (2, 1, 4)])
def test_logits_do_not_depend_on_a_tensor_axis_that_divides_no_heads(
    shape, checkpoint, model, prompts
):
    """Four query and two key/value heads."""
    assert (model.config.text.num_heads, model.config.text.num_kv_heads) == (4, 2)
    assert jax.device_count() == np.prod(shape)
    sharded = load_model(checkpoint, dtype="float32", mesh=make_mesh(*shape))
    np.testing.assert_allclose(
        np.asarray(sharded.logits(prompts["two_images"])),
        np.asarray(model.logits(prompts["two_images"])),
        atol=2e-4,
    )
