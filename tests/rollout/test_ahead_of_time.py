"""What rollouts of 7B take, compiled without TPUs: the caches, once, and little else."""

import json
import math
import re
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from perl_jax.kernels import Kernel
from perl_jax.mesh import AXES, SHARD_AXES
from perl_jax.models import abstract_model, parse_config
from perl_jax.models.cache import PromptCache
from perl_jax.rollout import Strategy, decode_state, programs
from tests.libtpu import compiled, needs_libtpu
from tests.models.published import published_config
from tests.rollout.bytes_moved import bytes_moved

ROOT = Path(__file__).parents[2]
ROLLOUTS, PROMPT, SLOTS, CHUNK = 6, 1280, 512, 32


def test_rollouts_on_eight_cpus_hold_the_caches_once():
    """What holds without kernels and without a TPU's compiler, which needs less beside them."""
    sizes = sizes_of_rollouts(jax.devices(), 2, None)
    of_token = 2 * 2 * 28 * 2 * 128
    own = of_token * 16 * 6 * 512
    caches = of_token * 16 * 1280 + own
    for program in ("decode", "admit"):
        assert sizes[program]["caches"] == caches
        assert sizes[program]["alias"] >= caches
    check_moves(sizes, own, caches)


@needs_libtpu
@pytest.mark.parametrize(
    ("topology", "tensor"),
    [
        pytest.param("v5p:2x2x4", 1, marks=pytest.mark.soak),
        pytest.param("v5e:4x4", 2, marks=pytest.mark.soak),
        pytest.param("v5e:4x4", 4, marks=pytest.mark.story),
    ],
)
def test_rollouts_of_7b_on_sixteen_chips_hold_the_caches_once(topology, tensor):
    sizes = compiled(__name__, topology, str(tensor))
    # bfloat16 keys and values of 28 layers, 4 heads of 128, of 16 orders a chip.
    of_token = 2 * 2 * 28 * (4 // tensor) * 128
    own = of_token * 16 * 6 * 512
    caches = of_token * 16 * 1280 + own
    decode = sizes["decode"]
    assert decode["caches"] == caches
    assert decode["alias"] >= caches
    assert decode["temporary"] < 0.05 * caches
    # Kernels read the caches where they lie: no layer of one is cut out, reordered or copied.
    assert decode["kernels"] == 2
    assert sizes["moved_by_decoding"] == []
    # Every step reads the weights, less the table that a few rows are looked up in, and the caches.
    hidden, mlp, keys, vocabulary = 3584, 18944, 512, 152064
    layer = hidden * (2 * hidden + 2 * keys + 3 * mlp)
    needed = CHUNK * (2 * (28 * layer + vocabulary * hidden) // tensor + caches)
    assert 0.95 * needed < sizes["bytes_of_decoding"] < 1.2 * needed
    # Ten more orders a shard: every chip sees the keys of all, of one layer at a time.
    assert sizes["admit"]["alias"] >= caches
    assert sizes["admit"]["temporary"] < 1.1 * 10 * (16 // tensor) * 1280 * (4 // tensor) * 128 * 2
    check_moves(sizes, own, caches)
    for program in MOVES:
        # One layer at a time.
        assert sizes[program]["temporary"] < caches / 28


MOVES = ("drop_slots", "resize", "lengthen", "compact")


def check_moves(sizes, own, caches):
    """Slots move in place; what becomes larger or smaller lies beside what it was, and no more."""
    assert sizes["drop_slots"]["alias"] >= own
    assert sizes["resize"]["results"] < 2.01 * own
    assert sizes["compact"]["results"] < 0.51 * caches
    assert sizes["lengthen"]["results"] < 2.01 * (caches - own)
    for program in MOVES:
        assert not sizes[program]["collectives"]


def main(topology, tensor):
    from jax.experimental.topologies import get_topology_desc

    devices = get_topology_desc(platform="tpu", topology_name=topology).devices
    return sizes_of_rollouts(devices, int(tensor), Kernel("tpu"))


def sizes_of_rollouts(devices, tensor, kernel):
    """Of every program that holds the caches, on one of the devices: see `described`."""
    data = len(devices) // tensor
    orders = 16 * data
    mesh = Mesh(np.array(devices).reshape(data, 1, tensor), AXES, axis_types=(AxisType.Auto,) * 3)
    config = parse_config(published_config("7B"))
    model = abstract_model(config, dtype=jnp.bfloat16, mesh=mesh)
    model.attend_by(kernel)
    definition, parameters = nnx.split(model)
    state = abstract_state(config, mesh, orders)
    shape = jax.ShapeDtypeStruct
    rows = programs.Rows(
        start=shape((orders,), jnp.int32),
        position=shape((orders,), jnp.int32),
        names=shape((orders, ROLLOUTS, 3), jnp.uint32),
        done=shape((orders, ROLLOUTS), bool),
    )
    drawing = programs.Drawing(
        parameters=Strategy().parameters(),
        banned=shape((config.vocab_size,), bool),
        stops=shape((2,), jnp.int32),
        limit=shape((), jnp.int32),
        key=shape((2,), jnp.uint32),
    )
    arguments = (parameters, state, shape((), jnp.int32), rows, drawing)
    integers = partial(shape, dtype=jnp.int32)
    half, number = orders // 2, integers(())
    lowered = {
        "decode": programs.decode.lower(definition, False, mesh, CHUNK, *arguments),
        "admit": programs.admit.lower(
            False, mesh, state, *admitted(config, mesh, 10 * data), drawing
        ),
        "drop_slots": decode_state.drop_slots.lower(mesh, state.cache, number),
        "resize": decode_state.resize.lower(mesh, 2 * SLOTS, state.cache, number),
        "lengthen": decode_state.lengthen.lower(mesh, 2 * PROMPT, state.prefix),
        "compact": decode_state.compact.lower(
            mesh, state, integers((half,)), integers((half, ROLLOUTS))
        ),
    }
    caches = [state.prefix.keys, state.prefix.values, *state.cache]
    of_chip = sum(bytes_of_a_shard(part) for part in caches)
    found = {name: one.compile() for name, one in lowered.items()}
    sizes = {name: described(one) | {"caches": of_chip} for name, one in found.items()}
    layers = {
        math.prod(part.sharding.shard_shape(part.shape)) // config.cache_sizes[0] for part in caches
    }
    text = found["decode"].as_text()
    moved = {"moved_by_decoding": moved_layers(text, layers)}
    if kernel is not None:
        moved["bytes_of_decoding"] = bytes_moved(text, config.cache_sizes[0])
    return sizes | moved


def moved_layers(text, sizes):
    """The operations that give an array as large as a layer of a cache, in bfloat16."""
    found = []
    for result, name in re.findall(r" = bf16\[([\d,]+)\]\S* ([\w-]+)\(", text):
        size = math.prod(map(int, result.split(",")))
        if size in sizes and name not in ("parameter", "get-tuple-element", "bitcast"):
            found.append(f"{name} bf16[{result}]")
    return found


def described(program):
    """Bytes on one chip: reused in place, of other results, and temporary; and collectives."""
    memory = program.memory_analysis()
    return {
        "alias": memory.alias_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "kernels": program.as_text().count("tpu_custom_call"),
        "collectives": re.findall(r" (all-gather|all-reduce|all-to-all)[-(]", program.as_text()),
    }


def admitted(config, mesh, orders):
    """Logits, caches, places, names and tokens of so many orders that were read."""

    def of(shape, dtype, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    layers, heads, width = config.cache_sizes
    shape = (layers, orders, heads, PROMPT, width)
    cache = of(shape, jnp.bfloat16, None, SHARD_AXES, "tensor")
    prefix = PromptCache(cache, cache, of((orders, PROMPT), bool, SHARD_AXES))
    return (
        of((orders, config.vocab_size), jnp.float32, SHARD_AXES),
        prefix,
        of((orders,), jnp.int32),
        of((orders, ROLLOUTS, 3), jnp.uint32),
        of((orders, PROMPT), jnp.int32),
    )


def abstract_state(config, mesh, orders):
    """What `decode_state.empty_state` returns, lying as it returns it."""
    arguments = (config, jnp.bfloat16, mesh, (orders, ROLLOUTS, PROMPT, SLOTS), False)
    shardings = decode_state.empty_state.lower(*arguments).compile().output_shardings
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(lambda: decode_state.empty_state(*arguments)),
        shardings,
    )


def bytes_of_a_shard(leaf):
    return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
