"""How the model's parameters lie on a mesh: path pattern -> partition of the stored axes.

Matrices are (out, in); a leading layer axis is never sharded. The tensor axis splits heads and
hidden units (Megatron: columns of the first map, rows of the second); fsdp splits the other side.

**No head is ever cut.** The tensor axis splits the maps of queries, and the map back from them,
only where it divides the number of query heads; those of keys and values only where it divides the
number of key/value heads; a hidden or vocabulary axis only where it divides its size. Where it does
not, it joins fsdp on the other side of the matrix: a device still holds no more of it than its
share, but the product is computed whole on every device of the tensor axis. The vision tower's
fused map of queries, keys and values is always so: an equal part of its rows would be parts of
several heads. Which of the text model's attention is split over a tensor axis:

| model (query / key-value heads) | 2 | 3 | 4 | 8 | 16 |
|---|---|---|---|---|---|
| 3B (16 / 2) | both | none | queries | queries | queries |
| 7B (28 / 4) | both | none | both | none | none |
| 32B (40 / 8) | both | none | both | both | none |
| 72B (64 / 8) | both | none | both | both | queries |
"""

import re

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from perl_jax.mesh import fit_sharding, partition_of
from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig

SHARDING = {
    r"text\.embed_tokens\.weight": PartitionSpec("tensor", "fsdp"),
    r"lm_head\.weight": PartitionSpec("tensor", "fsdp"),
    r".*\.(q_proj|k_proj|v_proj|qkv|gate_proj|up_proj|hidden)\.weight": PartitionSpec(
        "tensor", "fsdp"
    ),
    r".*\.(o_proj|proj|down_proj|out)\.weight": PartitionSpec("fsdp", "tensor"),
    r".*\.(q_proj|k_proj|v_proj|qkv|gate_proj|up_proj|hidden)\.bias": PartitionSpec("tensor"),
    r"vision\.patch_embed\.weight": PartitionSpec("fsdp", None),
    r".*": PartitionSpec(),
}


def parameter_sharding(
    path: str, shape: tuple[int, ...], config: Qwen2_5_VLConfig, mesh: Mesh
) -> NamedSharding:
    """The sharding of the model's parameter at a dotted path.

    Args:
        path: Such as ``text.layers.self_attn.q_proj.weight``.
        shape: Of the parameter.
        config: Says how many heads there are.
        mesh: The devices.
    """
    spec = partition_of(path, shape, SHARDING)
    if "tensor" not in spec:
        return fit_sharding(shape, spec, mesh)
    axis = spec.index("tensor")
    parts = _heads(path, config) or shape[axis]
    if parts % mesh.shape["tensor"] == 0:
        return fit_sharding(shape, spec, mesh)
    without = PartitionSpec(*(None if name == "tensor" else name for name in spec))
    joined = PartitionSpec(*(("fsdp", "tensor") if name == "fsdp" else name for name in without))
    fitted = fit_sharding(shape, joined, mesh)
    return fitted if fitted.spec == joined else fit_sharding(shape, without, mesh)


def _heads(path: str, config: Qwen2_5_VLConfig) -> int | None:
    """How many heads the axis consists of that the tensor axis splits; None: of hidden units."""
    heads = {
        r"text\..*\.(q_proj|o_proj)\..*": config.text.num_heads,
        r"text\..*\.(k_proj|v_proj)\..*": config.text.num_kv_heads,
        r"vision\..*\.attn\.proj\..*": config.vision.num_heads,
        r"vision\..*\.attn\.qkv\..*": 1,
    }
    return next((count for pattern, count in heads.items() if re.fullmatch(pattern, path)), None)
