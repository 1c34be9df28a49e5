"""The programs of a step with 7B's widths and two layers of each kind, traced with a kernel.

As a program, ``TOPOLOGY KERNEL DATA FSDP TENSOR`` compiles them for TPUs that are not there, and
prints as JSON the arrays that are as large as scores are, see `scores_in`. ``xla`` is no kernel.
"""

import json
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from perl_jax.kernels import Kernel
from perl_jax.mesh import BatchSharding, make_mesh
from perl_jax.models import abstract_model, parse_config
from perl_jax.models.cache import PromptCache, ResponseCache
from perl_jax.models.policy import PromptInputs
from perl_jax.rollout import Strategy
from perl_jax.rollout import programs as rollout
from perl_jax.rollout.decode_state import DecodeState
from perl_jax.update.packing import MicroBatch
from perl_jax.update.state import SplitPolicy
from tests.models.published import published_config
from tests.update.update_on_topology import PATCHES, PROMPT, RESPONSE, ROLLOUTS, one_shard, programs

SLOTS = 512
PROGRAMS = ("update", "score", "encode", "prefill", "decode")


def traced(mesh, kernel, wanted=PROGRAMS):
    """By name, those wanted of the update, log-probabilities, vision tower, prefill, decoding."""
    content = published_config("7B")
    content["num_hidden_layers"] = 2
    content["vision_config"] |= {"depth": 2, "fullatt_block_indexes": [1]}
    config, sharding = parse_config(content), BatchSharding.of(mesh)
    model = abstract_model(config, dtype="bfloat16", compute_dtype="bfloat16", mesh=mesh)
    model.attend_by(kernel)
    policy = SplitPolicy(model)
    params = policy.split(model)
    batch = sharding.shapes(one_shard(config), MicroBatch.shard_axes)
    gradients = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=leaf.sharding)
        for path, leaf in params.items()
    }
    banned = jax.ShapeDtypeStruct((config.vocab_size,), bool, sharding=sharding.replicated)
    update = programs(policy, params, sharding)
    definition, parameters = nnx.split(model)
    prompts, images = batch.prompts, batch.prompts.images
    orders = prompts.tokens.shape[0]
    tokens = PATCHES // config.patches_per_unit * sharding.num_shards
    features = jax.ShapeDtypeStruct((1, tokens, *config.feature_shape), jnp.bfloat16)
    of_prompts = PromptInputs(**{**vars(prompts), "images": None})
    of_decoding = (8, parameters, *decoding(config, orders))
    calls = {
        "update": (update.add, gradients, params, {}, batch, banned),
        "score": (update.score, params, {}, batch, banned),
        "encode": (rollout.encode, definition, mesh, parameters, images),
        "prefill": (rollout.prefill, definition, mesh, parameters, features, of_prompts),
        "decode": (rollout.decode, definition, False, mesh, *of_decoding),
    }
    return {name: calls[name][0].trace(*calls[name][1:]) for name in wanted}


def decoding(config, orders):
    """The state, the time, the rows and the strategy that decoding takes."""
    shape = jax.ShapeDtypeStruct
    integers = partial(shape, dtype=jnp.int32)
    prefix, cache = (
        jax.eval_shape(partial(make, config.cache_sizes, orders, *sizes, jnp.bfloat16))
        for make, sizes in (
            (PromptCache.empty, (PROMPT,)),
            (ResponseCache.empty, (ROLLOUTS, SLOTS)),
        )
    )
    state = DecodeState(prefix, cache, integers((orders, ROLLOUTS)), None)
    rows = rollout.Rows(
        start=integers((orders,)),
        position=integers((orders,)),
        names=shape((orders, ROLLOUTS, 3), jnp.uint32),
        done=shape((orders, ROLLOUTS), bool),
    )
    drawing = rollout.Drawing(
        parameters=Strategy().parameters(),
        banned=shape((config.vocab_size,), bool),
        stops=integers((2,)),
        limit=integers(()),
        key=shape((2,), jnp.uint32),
    )
    return state, integers(()), rows, drawing


def scores_in(text):
    """The arrays of a compiled program with an axis of queries and one of keys.

    Those axes are as long as a prompt, a response or a row of patches, padded to blocks or not.
    """
    lengths = {PROMPT, RESPONSE, PROMPT + RESPONSE, 384, 1344, PATCHES}
    found = set()
    for dtype, dims in re.findall(r"\b(f32|bf16|pred)\[([\d,]+)\]", text):
        sizes = [int(size) for size in dims.split(",")]
        if sum(size in lengths for size in sizes) > 1 and len(sizes) > 2:
            found.add(f"{dtype}[{dims}]")
    return sorted(found)


def main(topology, kernel, *shape):
    from jax.experimental.topologies import get_topology_desc

    devices = get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh(*map(int, shape), devices=devices)
    found = traced(mesh, None if kernel == "xla" else Kernel(kernel))
    del found["score"], found["decode"]
    sizes = {}
    for name, program in found.items():
        compiled = program.lower().compile()
        text = compiled.as_text()
        sizes[name] = {
            "scores": scores_in(text),
            "kernels": text.count("tpu_custom_call"),
            "temporary": compiled.memory_analysis().temp_size_in_bytes,
        }
    return sizes


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
