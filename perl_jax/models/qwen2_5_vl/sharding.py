"""The sharding of the model's parameters on a mesh; `perl_jax.models.sharding` has the rules.

The tensor axis never splits the vision tower's fused map of queries, keys and values: equal parts
of its rows would cut heads. Heads of the text model that it splits, by the size of the axis:

| model (query / key-value heads) | 2 | 3 | 4 | 8 | 16 |
|---|---|---|---|---|---|
| 3B (16 / 2) | both | none | queries | queries | queries |
| 7B (28 / 4) | both | none | both | none | none |
| 32B (40 / 8) | both | none | both | both | none |
| 72B (64 / 8) | both | none | both | both | queries |
"""

from jax.sharding import PartitionSpec as P

SHARDING = {
    r"text\.embed_tokens\.weight": P("tensor", "fsdp"),
    r"lm_head\.weight": P("tensor", "fsdp"),
    r".*\.(q_proj|k_proj|v_proj|qkv|gate_proj|up_proj|hidden)\.weight": P("tensor", "fsdp"),
    r".*\.(o_proj|proj|down_proj|out)\.weight": P("fsdp", "tensor"),
    r".*\.(q_proj|k_proj|v_proj|qkv|gate_proj|up_proj|hidden)\.bias": P("tensor"),
    r"vision\.patch_embed\.weight": P("fsdp", None),
    r".*": P(),
}
