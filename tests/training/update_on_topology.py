"""Compiles the update for a TPU topology, without one, and prints what it takes as JSON.

``TOPOLOGY SIZE LAYERS DTYPE DATA FSDP TENSOR``, such as ``v5e:4x4 7B 28 float32 1 16 1``. In a
process of its own: the compiler for TPUs locks its library.
"""

import json
import re
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from perl_jax.mesh import make_mesh
from perl_jax.models.qwen2_5_vl.config import parse_config
from perl_jax.models.qwen2_5_vl.inputs import ImageSizes, PromptInputs, pack_images
from perl_jax.models.qwen2_5_vl.load import abstract_model
from perl_jax.models.qwen2_5_vl.sharding import parameter_sharding
from perl_jax.objectives import Objective
from perl_jax.training.forward import Head
from perl_jax.training.losses import policy_gradient_loss
from perl_jax.training.packing import MicroBatch
from perl_jax.training.placement import Placement, _split_axes
from perl_jax.training.state import Policy, dotted
from perl_jax.training.update import Programs
from perl_jax.types import ImagePatches
from tests.models.published import published_config

# One order of three images and six responses on every chip.
PROMPT, ROLLOUTS, RESPONSE = 1152, 6, 300
GRID, IMAGES, PATCHES = (28, 48), 3, 4096
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "u8": 1}


def sharded_model(config, mesh, dtype):
    model = abstract_model(config, dtype=jnp.dtype(dtype), compute_dtype=jnp.dtype("bfloat16"))
    definition, state = nnx.split(model)

    def place(path, leaf):
        sharding = parameter_sharding(dotted(path), leaf.shape, config, mesh)
        return leaf.replace(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding))

    flat = [(path, place(path, leaf)) for path, leaf in nnx.to_flat_state(state)]
    return nnx.merge(definition, nnx.from_flat_state(flat))


def micro_batch(config, placement):
    """Shapes of a micro-batch with one order of IMAGES images and ROLLOUTS responses a shard."""
    vision, orders = config.vision, 1
    image = ImagePatches(np.zeros((GRID[0] * GRID[1], vision.patch_width), np.float32), GRID)
    images = [image] * IMAGES
    sizes = ImageSizes.of([[GRID] * IMAGES], vision, num_patches=PATCHES)
    packed = jax.tree.map(lambda part: part[None], pack_images(images, vision, sizes))
    token = np.zeros((orders, ROLLOUTS, RESPONSE), np.float32)
    prompt = np.zeros((orders, PROMPT), np.int32)
    shard = MicroBatch(
        prompts=PromptInputs(
            tokens=prompt,
            positions=np.zeros((3, orders, PROMPT), np.int32),
            valid=prompt == 0,
            feature_rows=prompt,
            images=packed,
        ),
        start=np.zeros(orders, np.int32),
        tokens=token.astype(np.int32),
        valid=token == 0,
        values={
            "weights": token, "sampled": token, "reference": token,
            "advantages": np.zeros((orders, ROLLOUTS), np.float32),
        },
    )  # fmt: skip

    def spread(leaf, axis):
        shape = list(leaf.shape)
        shape[axis] *= placement.shards.count
        return jax.ShapeDtypeStruct(
            tuple(shape), leaf.dtype, sharding=placement.shards.sharding(axis)
        )

    return jax.tree.map(spread, shard, _split_axes(shard))


def main(topology, size, layers, dtype, *shape):
    from jax.experimental.topologies import get_topology_desc

    devices = get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh(*map(int, shape), devices=devices)
    config = parse_config({**published_config(size), "num_hidden_layers": int(layers)})
    model = sharded_model(config, mesh, dtype)
    policy, placement = Policy(model), Placement(mesh)
    params = policy.split(model)
    head = Head(1.0, "layers", mesh=mesh)
    objective = Objective(kl="k3", kl_coefficient=0.01)
    programs = Programs(
        policy, params,
        loss=partial(policy_gradient_loss, head=head, objective=objective, importance_cap=None),
        head=head, optimizer=optax.adamw(1e-6), schedule=optax.constant_schedule(1e-6),
        placement=placement,
    )  # fmt: skip
    total = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=leaf.sharding)
        for path, leaf in params.items()
    }
    banned = jax.ShapeDtypeStruct((config.text.vocab_size,), bool, sharding=placement.everywhere)
    began = time.monotonic()
    lowered = programs.add.lower(total, params, {}, micro_batch(config, placement), banned)
    compiled = lowered.compile()
    text = compiled.as_text()
    if len(sys.argv) > 8:
        Path(sys.argv[8]).write_text(text)
    memory = compiled.memory_analysis()
    return {
        "seconds": round(time.monotonic() - began, 1),
        "arguments": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "gathers": gathers(text),
    }


def gathers(text):
    """Bytes of the results of collectives, the largest first: of each kind."""
    found = {}
    kinds = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    pattern = rf"= (.*?) ((?:{kinds})(?:-start)?)\("
    for match in re.finditer(pattern, text):
        sizes = [
            BYTES.get(kind, 4) * int(np.prod([int(n) for n in dims.split(",") if n] or [1]))
            for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", match[1])
        ]
        found.setdefault(match[2], []).append((max(sizes), re.sub(r"\{.*?\}", "", match[1])[:80]))
    return {kind: [len(all_), *sorted(all_, reverse=True)[:8]] for kind, all_ in found.items()}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:8]), indent=1))
