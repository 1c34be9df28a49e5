"""How the model's parameters lie on a mesh: path pattern -> partition of the stored axes.

Matrices are (out, in); a leading layer axis is never sharded. The tensor axis splits heads and
hidden units (Megatron: columns of the first map, rows of the second); fsdp splits the other side.
"""

from jax.sharding import PartitionSpec

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


def parameter_sharding(path, shape, config, mesh):
    from perl_jax.mesh import sharding_of

    return sharding_of(path, shape, SHARDING, mesh)
