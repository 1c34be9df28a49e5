"""Compiles an update for a TPU topology without a TPU, and prints what it takes as JSON.

``TOPOLOGY SIZE DTYPE DATA FSDP TENSOR [REMAT] [FILE]``, such as ``v5e:4x4 7B float32 1 16 1
inputs``: with one order of three images and six responses for every shard, and parameters of this
dtype. The compiled program goes to the file.
"""

import json
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from perl_jax.chips import chip_of
from perl_jax.flops import count_in_kernels
from perl_jax.kernels import Kernel
from perl_jax.mesh import BatchSharding, make_mesh, num_shards
from perl_jax.models import abstract_model, parse_config
from perl_jax.models.policy import PromptInputs
from perl_jax.objectives import Objective
from perl_jax.planning.collectives import find_collectives
from perl_jax.planning.cycles import estimated_cycles
from perl_jax.types import ImagePatches
from perl_jax.update.forward import Head
from perl_jax.update.layout import Padded, RowShape, lay_out
from perl_jax.update.losses import policy_gradient_loss
from perl_jax.update.packing import MicroBatch
from perl_jax.update.programs import Programs
from perl_jax.update.state import SplitPolicy, shardings_of
from tests.models.published import published_config

PROMPT, ROLLOUTS, RESPONSE = 1152, 6, 300
IMAGES, GRID, PATCHES = 3, (28, 48), 4096  # three images of 336 tokens each

# Layers wide enough that one matrix takes more memory than the activations of a batch.
WIDTH, MLP = 512, 8192

PLACES = Padded(
    (1, PROMPT),
    (1, ROLLOUTS, RESPONSE),
    RowShape(ROLLOUTS, RESPONSE),
    tokens=PROMPT + ROLLOUTS * RESPONSE,
    predicted=ROLLOUTS * RESPONSE,
)

BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
COLLECTIVE = re.compile(
    r" = (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def main(topology, size, dtype, data, fsdp, tensor, remat="layers", path=None):
    from jax.experimental.topologies import get_topology_desc

    devices = get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh(int(data), int(fsdp), int(tensor), devices=devices)
    config = parse_config(published_config(size))
    return described(mesh, config, dtype, Kernel("tpu"), remat, path)


def described(mesh, config, dtype, kernel, remat="layers", path=None):
    """What the update of a model takes on the devices of a mesh; its program goes to the path."""
    model = abstract_model(config, dtype=dtype, compute_dtype="bfloat16", mesh=mesh)
    model.attend_by(kernel)
    sharding, policy = BatchSharding.of(mesh), SplitPolicy(model)
    params, batch = policy.split(model), sharding.shapes(one_shard(config), MicroBatch.shard_axes)
    gradients = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=leaf.sharding)
        for path, leaf in params.items()
    }
    banned = jax.ShapeDtypeStruct((config.vocab_size,), bool, sharding=sharding.replicated)
    add = programs(policy, params, sharding, remat).add
    traced = add.trace(gradients, params, {}, batch, banned)
    compiled = traced.lower().compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    lie = compiled.output_shardings[0]
    return {
        "temporary": memory.temp_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "arguments": memory.argument_size_in_bytes,
        "gradients": sum(bytes_of_a_shard(leaf) for leaf in gradients.values()),
        "moved": [
            path
            for path, sharding in shardings_of(params).items()
            if not sharding.is_equivalent_to(lie[path], params[path].ndim)
        ],
        "collectives": collectives(text),
        "expected": expected(mesh, config, text, count_in_kernels(traced.jaxpr)),
    }


def expected(mesh, config, text, kernels):
    """Seconds as the compiler expects, kernels at 30% of the peak and links at 80%, and the MFU."""
    cycles, chip = estimated_cycles(text), chip_of(mesh.devices.flat[0].device_kind)
    if cycles is None:
        return None
    links = {True: 0.0, False: 0.0}
    for one in find_collectives(text, mesh.size):
        links[one.ahead] += one.received / (0.8 * chip.receives(one.group, mesh.size))
    of_kernels = kernels / mesh.size / chip.peak / 0.3
    seconds = max(cycles / chip.clock + of_kernels, links[True]) + links[False]
    pairs = PROMPT * (PROMPT + 1) // 2 + ROLLOUTS * RESPONSE * (PROMPT + (RESPONSE + 1) / 2)
    forward = config.text_operations(
        tokens=PROMPT + ROLLOUTS * RESPONSE, pairs=round(pairs), predicted=ROLLOUTS * RESPONSE
    )
    least = 3 * (forward + IMAGES * config.image_operations(GRID))
    return {
        "compiler": cycles / chip.clock,
        "kernels": of_kernels,
        "links alone": links[False],
        "links ahead": links[True],
        "seconds": seconds,
        "mfu": least / chip.peak / seconds * num_shards(mesh) / mesh.size,
    }


def small_config():
    """A policy with few layers, each much larger than what a batch leaves of it."""
    content = published_config("7B")
    content |= {"hidden_size": WIDTH, "intermediate_size": MLP, "num_hidden_layers": 2}
    content |= {"num_attention_heads": 4, "num_key_value_heads": 1}
    content["vision_config"] |= {
        "hidden_size": 160, "intermediate_size": 428, "num_heads": 2, "out_hidden_size": WIDTH,
        "depth": 2, "fullatt_block_indexes": [1],
    }  # fmt: skip
    return parse_config(content)


def one_shard(config):
    """A micro-batch of one order, its padding included."""
    image = ImagePatches(np.zeros((GRID[0] * GRID[1], config.patch_width), np.float32), GRID)
    images = config.image_sizes([[GRID] * IMAGES], num_patches=PATCHES).pack([image] * IMAGES)
    prompt = np.zeros((1, PROMPT), np.int32)
    of_token = np.zeros((1, ROLLOUTS, RESPONSE), np.float32)
    return MicroBatch(
        prompts=PromptInputs(
            tokens=prompt,
            positions=np.zeros((3, 1, PROMPT), np.int32),
            valid=prompt == 0,
            feature_rows=prompt,
            images=jax.tree.map(lambda part: part[None], images),
        ),
        start=np.zeros(1, np.int32),
        tokens=of_token.astype(np.int32),
        valid=of_token == 0,
        rows=lay_out([PROMPT], [0], np.full((1, ROLLOUTS), RESPONSE), PLACES),
        values={
            **dict.fromkeys(("weights", "sampled", "reference"), of_token),
            "advantages": np.zeros((1, ROLLOUTS), np.float32),
        },
    )


def programs(policy, params, sharding, remat="layers"):
    head = Head(remat=remat, mesh=sharding.mesh)
    objective = Objective(kl="k3", kl_coefficient=0.01)
    return Programs(
        policy,
        params,
        loss=partial(policy_gradient_loss, head=head, objective=objective, importance_cap=None),
        head=head,
        optimizer=optax.adamw(1e-6),
        schedule=optax.constant_schedule(1e-6),
        sharding=sharding,
    )


def bytes_of_a_shard(leaf):
    return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize


def collectives(text):
    """By kind, how many there are in a compiled program, and the bytes of the largest result."""
    found = {}
    for result, kind in COLLECTIVE.findall(text):
        sizes = [
            BYTES[dtype] * int(np.prod([int(size) for size in dims.split(",") if size] or [1]))
            for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result)
        ]
        count, largest = found.get(kind, (0, 0))
        found[kind] = count + 1, max(largest, *sizes)
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
