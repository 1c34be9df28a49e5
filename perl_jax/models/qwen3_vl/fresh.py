"""Fresh Qwen3-VL directories: what they hold, and their default sizes."""

from typing import Any

from perl_jax.models.fresh_parts import (
    Described,
    FreshFamily,
    Json,
    Shapes,
    linear,
    norm,
    repeated,
    shared_fields,
    text_tokens,
)

TEXT = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 352,
    "max_position_embeddings": 262144,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000000,
}
VISION = {
    "deepstack_visual_indexes": [0, 1],
    "depth": 3,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 64,
    "in_channels": 3,
    "intermediate_size": 128,
    "num_heads": 4,
    "num_position_embeddings": 144,
    "out_hidden_size": 128,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}

CHAT_TEMPLATE = """\
{%- set pictures = namespace(n=0) -%}
{%- for message in messages -%}
{%- if message.role == 'user' or message.role == 'assistant' or loop.first -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if message.role == 'user' and (part.type == 'image' or 'image' in part) -%}
{%- set pictures.n = pictures.n + 1 -%}
{%- if add_vision_id -%}{{ 'Picture ' ~ pictures.n ~ ': ' }}{%- endif -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'text' in part -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def tensor_shapes(text: Json, vision: Json, tied: bool) -> Shapes:
    """The shapes of a model's stored tensors, by published name."""
    d, f = vision["hidden_size"], vision["intermediate_size"]
    joined = d * vision["spatial_merge_size"] ** 2
    patch = (vision["temporal_patch_size"], vision["patch_size"], vision["patch_size"])
    block = {
        **norm("norm1", d),
        **norm("norm2", d),
        **linear("attn.qkv", 3 * d, d),
        **linear("attn.proj", d, d),
        **linear("mlp.linear_fc1", f, d),
        **linear("mlp.linear_fc2", d, f),
    }
    merger = {
        **linear("linear_fc1", joined, joined),
        **linear("linear_fc2", vision["out_hidden_size"], joined),
    }
    h, i, head = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    q, kv = text["num_attention_heads"] * head, text["num_key_value_heads"] * head
    layer = {
        "input_layernorm.weight": (h,),
        "post_attention_layernorm.weight": (h,),
        "self_attn.q_proj.weight": (q, h),
        "self_attn.k_proj.weight": (kv, h),
        "self_attn.v_proj.weight": (kv, h),
        "self_attn.o_proj.weight": (h, q),
        "self_attn.q_norm.weight": (head,),
        "self_attn.k_norm.weight": (head,),
        "mlp.gate_proj.weight": (i, h),
        "mlp.up_proj.weight": (i, h),
        "mlp.down_proj.weight": (h, i),
    }
    deep = {**norm("norm", joined), **merger}
    vocabulary = (text["vocab_size"], h)
    of_vision = {
        "patch_embed.proj.weight": (d, 3, *patch),
        "patch_embed.proj.bias": (d,),
        "pos_embed.weight": (vision["num_position_embeddings"], d),
        **repeated("blocks", vision["depth"], block),
        **norm("merger.norm", d),
        **{f"merger.{name}": shape for name, shape in merger.items()},
        **repeated("deepstack_merger_list", len(vision["deepstack_visual_indexes"]), deep),
    }
    of_text = {
        "embed_tokens.weight": vocabulary,
        **repeated("layers", text["num_hidden_layers"], layer),
        "norm.weight": (h,),
    }
    return {
        **{f"model.visual.{name}": shape for name, shape in of_vision.items()},
        **{f"model.language_model.{name}": shape for name, shape in of_text.items()},
        **({} if tied else {"lm_head.weight": vocabulary}),
    }


def config_json(described: Described) -> dict[str, Any]:
    """The content of config.json."""
    text = {
        **text_tokens(described),
        **described.text,
        "dtype": described.dtype,
        "model_type": "qwen3_vl_text",
    }
    rope = {
        "mrope_interleaved": True,
        "mrope_section": list(described.mrope_section),
        "rope_type": "default",
    }
    vision = {**described.vision, "model_type": "qwen3_vl"}
    root = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        **shared_fields(described),
    }
    if described.layout == "hub":
        text["rope_scaling"] = rope
        if described.tied:
            # The published 2B and 4B say it twice.
            text["tie_word_embeddings"] = True
        return {**root, "text_config": text, "vision_config": vision}
    text["rope_parameters"] = {**rope, "rope_theta": text.pop("rope_theta")}
    vision |= {
        "dtype": described.dtype,
        "model_type": "qwen3_vl_vision",
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
    }
    return {**root, "dtype": described.dtype, "text_config": text, "vision_config": vision}


def preprocessor_json(min_pixels: int) -> dict[str, Any]:
    """The content of preprocessor_config.json."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "size": {"shortest_edge": min_pixels, "longest_edge": 16777216},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def v5_name(name: str) -> str:
    """The name that transformers 5 saves under is the published one."""
    return name


FRESH = FreshFamily(
    text=TEXT,
    vision=VISION,
    added_tokens=(
        "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
        "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
        "<think>", "</think>",
    ),
    chat_template=CHAT_TEMPLATE,
    generation={"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20},
    shapes=tensor_shapes,
    config=config_json,
    preprocessor=preprocessor_json,
    v5_name=v5_name,
)  # fmt: skip
