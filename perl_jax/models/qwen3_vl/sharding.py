"""The sharding of the model's parameters on a mesh; `perl_jax.models.sharding` has the rules.

The tensor axis never splits the vision tower's fused map of queries, keys and values: equal parts
of its rows would cut heads. All published sizes have 8 key/value heads, so the heads of the text
model that it splits are both up to an axis of 8, and the queries alone at 16 (2B: 16 heads,
4B and 8B: 32, 32B: 64).
"""

from jax.sharding import PartitionSpec as P

SHARDING = {
    r"text\.embed_tokens\.weight": P("tensor", "fsdp"),
    r"lm_head\.weight": P("tensor", "fsdp"),
    r".*\.(q_proj|k_proj|v_proj|qkv|gate_proj|up_proj|linear_fc1)\.weight": P("tensor", "fsdp"),
    r".*\.(o_proj|proj|down_proj|linear_fc2)\.weight": P("fsdp", "tensor"),
    r".*\.(qkv|linear_fc1)\.bias": P("tensor"),
    r"vision\.patch_embed\.weight": P("fsdp", None),
    # Rows are gathered, so the other axis is split.
    r"vision\.pos_embed\.weight": P(None, "fsdp"),
    r".*": P(),
}
