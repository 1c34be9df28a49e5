"""Fresh Qwen2.5-VL directories: what they hold, and their default sizes."""

from typing import Any

from perl_jax.models.fresh_parts import (
    Described,
    FreshFamily,
    Json,
    Shapes,
    linear,
    repeated,
    shared_fields,
    text_tokens,
)

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 128000,
    "hidden_act": "silu",
}
VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "out_hidden_size": 128,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [1],
    "hidden_act": "silu",
    "in_chans": 3,
    "tokens_per_second": 2,
}
CHAT_TEMPLATE = """\
{%- set pictures = namespace(n=0) -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part -%}
{%- set pictures.n = pictures.n + 1 -%}
{%- if add_vision_id -%}{{ 'Picture ' ~ pictures.n ~ ': ' }}{%- endif -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'text' in part -%}{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def tensor_shapes(text: Json, vision: Json, tied: bool) -> Shapes:
    """The shapes of a model's stored tensors, by published name."""
    d, f = vision["hidden_size"], vision["intermediate_size"]
    merged = d * vision["spatial_merge_size"] ** 2
    patch = (vision["temporal_patch_size"], vision["patch_size"], vision["patch_size"])
    block = {
        "norm1.weight": (d,),
        "norm2.weight": (d,),
        **linear("attn.qkv", 3 * d, d),
        **linear("attn.proj", d, d),
        **linear("mlp.gate_proj", f, d),
        **linear("mlp.up_proj", f, d),
        **linear("mlp.down_proj", d, f),
    }
    h, i = text["hidden_size"], text["intermediate_size"]
    kv = h // text["num_attention_heads"] * text["num_key_value_heads"]
    layer = {
        "input_layernorm.weight": (h,),
        "post_attention_layernorm.weight": (h,),
        **linear("self_attn.q_proj", h, h),
        **linear("self_attn.k_proj", kv, h),
        **linear("self_attn.v_proj", kv, h),
        "self_attn.o_proj.weight": (h, h),
        "mlp.gate_proj.weight": (i, h),
        "mlp.up_proj.weight": (i, h),
        "mlp.down_proj.weight": (h, i),
    }
    vocabulary = (text["vocab_size"], h)
    return {
        "visual.patch_embed.proj.weight": (d, 3, *patch),
        **repeated("visual.blocks", vision["depth"], block),
        "visual.merger.ln_q.weight": (d,),
        **linear("visual.merger.mlp.0", merged, merged),
        **linear("visual.merger.mlp.2", vision["out_hidden_size"], merged),
        "model.embed_tokens.weight": vocabulary,
        **repeated("model.layers", text["num_hidden_layers"], layer),
        "model.norm.weight": (h,),
        **({} if tied else {"lm_head.weight": vocabulary}),
    }


def config_json(described: Described) -> dict[str, Any]:
    """The content of config.json."""
    text, vision = described.text, described.vision
    section = list(described.mrope_section)
    shared = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        **shared_fields(described),
    }
    token_ids = text_tokens(described)
    inert = {"use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 70}
    if described.layout == "hub":
        return {
            **shared,
            **token_ids,
            **inert,
            **text,
            "rope_theta": 1e6,
            "rope_scaling": {"type": "mrope", "mrope_section": section},
            "torch_dtype": described.dtype,
            "vision_config": {**vision, "spatial_patch_size": vision["patch_size"]},
        }
    text_rope = {"rope_theta": 1e6, "rope_type": "default", "mrope_section": section}
    text_only = {"model_type": "qwen2_5_vl_text", "rope_parameters": text_rope}
    vision_only = {
        "model_type": "qwen2_5_vl_vision",
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
    }
    return {
        **shared,
        "dtype": described.dtype,
        "text_config": {**token_ids, **inert, **text, **text_only, "dtype": described.dtype},
        "vision_config": {**vision, **vision_only, "dtype": described.dtype},
    }


def v5_name(name: str) -> str:
    """Translates a hub name to that of transformers 5."""
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model."):
        return f"model.language_model.{name.removeprefix('model.')}"
    return name


def preprocessor_json(min_pixels: int) -> dict[str, Any]:
    """The content of preprocessor_config.json."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": min_pixels,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


FRESH = FreshFamily(
    text=TEXT,
    vision=VISION,
    added_tokens=(
        "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
        "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
    ),
    chat_template=CHAT_TEMPLATE,
    generation={"do_sample": True, "temperature": 1e-6, "repetition_penalty": 1.05},
    shapes=tensor_shapes,
    config=config_json,
    preprocessor=preprocessor_json,
    v5_name=v5_name,
)  # fmt: skip
