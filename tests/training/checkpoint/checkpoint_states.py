"""Training states that are functions of their step, to be saved, restored and compared."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

FINGERPRINT = {"code": "c0de", "config": "c0ffee", "data": "da7a"}
LAYOUT = {
    "params": {"kernel": ("a", "b"), "bias": ("b",)},
    "moments": ("b", "a"),
    "count": (),
    "flags": (),
    "nothing": (None, "a"),
    "keys": {"rollout": (), "dropout": ("a",)},
}


def mesh(*shape: int) -> jax.sharding.Mesh:
    return jax.make_mesh(shape, ("a", "b"), axis_types=(AxisType.Auto,) * 2)


def shardings(on: jax.sharding.Mesh):
    def place(spec):
        return NamedSharding(on, PartitionSpec(*spec))

    return jax.tree.map(place, LAYOUT, is_leaf=lambda spec: isinstance(spec, tuple))


def state(step: int, on: jax.sharding.Mesh | None = None):
    """A state of every kind of array that training has; of random bits, NaN among them.

    The kernel's parts are too large for Orbax to keep among its indices, which have checksums.
    """
    random = np.random.default_rng(step)

    def bits(shape, dtype):
        raw = random.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return np.frombuffer(raw, dtype).reshape(shape)

    arrays = {
        "params": {"kernel": bits((64, 96), np.float32), "bias": bits((8,), jnp.bfloat16)},
        "moments": bits((8, 64), jnp.bfloat16),
        "count": np.int32(step),
        "flags": random.integers(0, 2, 5) == 1,
        "nothing": np.zeros((0, 8), np.float32),
        "keys": {
            "rollout": jax.random.key(step),
            "dropout": jax.random.split(jax.random.key(step, impl="rbg"), 8),
        },
    }
    return jax.device_put(arrays, shardings(on or mesh(2, 4)))


def simple_state(step: int):
    """A state that takes little to compile."""
    random = np.random.default_rng(step)
    kernel, bias = random.normal(size=(64, 96)), random.normal(size=8)
    arrays = {
        "kernel": kernel.astype(np.float32),
        "bias": bias.astype(jnp.bfloat16),
        "count": np.int32(step),
    }
    return jax.device_put(arrays, jax.devices()[0])


def abstract(tree, on: jax.sharding.Mesh | None = None):
    """What to restore: like the tree, on its own mesh or on another."""
    if on is None:
        places = jax.tree.map(lambda leaf: leaf.sharding, tree)
    else:
        places = shardings(on)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        tree,
        places,
    )


def words(leaf) -> bytes:
    """The bits of an array, so that NaN equals itself and 0.0 does not equal -0.0."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def assert_same(actual, expected) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert (leaf.shape, leaf.dtype) == (other.shape, other.dtype), name
        assert words(leaf) == words(other), name


def host(step: int) -> dict:
    return {"data": {"next_index": 7 * step}, "skipped": ["a", None], "rate": 0.1 + step}
