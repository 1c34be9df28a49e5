"""Qwen2.5-VL directories with all published files, but other sizes, vocabulary and weights."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from perl_jax.settings import Checked, Count

Layout = Literal["hub", "v5"]
Shapes = dict[str, tuple[int, ...]]
# (generator, hub name, shape) -> float array
Draw = Callable[[np.random.Generator, str, tuple[int, ...]], np.ndarray]

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
MROPE_SECTION = (4, 6, 6)

# Both in the order of the published tokenizer.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
ADDED_TOKENS = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
]  # fmt: skip

# Splits text into words, single digits, runs of punctuation and white space, as GPT-4 does.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

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


@dataclass(frozen=True)
class FreshModel(Checked):
    """The content of a fresh model directory.

    Attributes:
        text: Replaces fields of the text configuration `TEXT`.
        vision: Replaces fields of the vision configuration `VISION`.
        mrope_section: Frequencies per position axis; they sum to half the head width.
        words: Words that become single tokens, with and without a space before them.
        tied: Whether the unembedding is the embedding (as in 3B) or a separate tensor (as in 7B).
        layout: Weight names and config.json: "hub" as published (flat), "v5" as transformers 5
            writes them (nested).
        shards: The number of safetensors files; several come with an index.
        dtype: The dtype of the stored tensors.
        min_pixels: Smaller images are enlarged to this area.
        seed: The seed of the weights. The same fields give the same bytes.
    """

    text: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    mrope_section: tuple[Count, ...] = MROPE_SECTION
    words: tuple[str, ...] = ()
    tied: bool = True
    layout: Layout = "hub"
    shards: Count = 1
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    min_pixels: Count = 3136
    seed: int = 0


def initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Initial weights for training: matrices keep the scale of their input, norms 1, biases 0."""
    if "norm" in name or "ln_q" in name:
        return np.ones(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    deviation = 0.05 if "embed_tokens" in name else 1 / math.sqrt(math.prod(shape[1:]))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def write_fresh_model(path: str | Path, model: FreshModel, *, draw: Draw = initial) -> Path:
    """Writes a model directory, created if absent, with the weights of ``draw``; returns it."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    ids, num_tokens = _write_tokenizer(path, model.words)
    # As published, the embedding has more rows than the tokenizer has tokens.
    vocab_size = -(-(num_tokens + 10) // 32) * 32
    text = {"vocab_size": vocab_size, **TEXT, **model.text}
    vision = {**VISION, **model.vision, "out_hidden_size": text["hidden_size"]}
    _write_processor_files(path, ids, model.min_pixels)
    _write_json(path / "config.json", _config(model, text, vision, ids))
    rng = np.random.default_rng(model.seed)
    dtype = ml_dtypes.bfloat16 if model.dtype == "bfloat16" else np.float32
    shapes = tensor_shapes(text, vision, tied=model.tied)
    tensors = {name: draw(rng, name, shape).astype(dtype) for name, shape in shapes.items()}
    if model.layout == "v5":
        tensors = {_v5_name(name): tensor for name, tensor in tensors.items()}
    _write_weights(path, tensors, model.shards)
    return path


def tensor_shapes(text: Mapping[str, Any], vision: Mapping[str, Any], *, tied: bool) -> Shapes:
    """The shapes of a model's stored tensors, by hub name."""
    d, f = vision["hidden_size"], vision["intermediate_size"]
    merged = d * vision["spatial_merge_size"] ** 2
    patch = (vision["temporal_patch_size"], vision["patch_size"], vision["patch_size"])
    block = {
        "norm1.weight": (d,),
        "norm2.weight": (d,),
        **_linear("attn.qkv", 3 * d, d),
        **_linear("attn.proj", d, d),
        **_linear("mlp.gate_proj", f, d),
        **_linear("mlp.up_proj", f, d),
        **_linear("mlp.down_proj", d, f),
    }
    h, i = text["hidden_size"], text["intermediate_size"]
    kv = h // text["num_attention_heads"] * text["num_key_value_heads"]
    layer = {
        "input_layernorm.weight": (h,),
        "post_attention_layernorm.weight": (h,),
        **_linear("self_attn.q_proj", h, h),
        **_linear("self_attn.k_proj", kv, h),
        **_linear("self_attn.v_proj", kv, h),
        "self_attn.o_proj.weight": (h, h),
        "mlp.gate_proj.weight": (i, h),
        "mlp.up_proj.weight": (i, h),
        "mlp.down_proj.weight": (h, i),
    }
    vocabulary = (text["vocab_size"], h)
    return {
        "visual.patch_embed.proj.weight": (d, 3, *patch),
        **_repeated("visual.blocks", vision["depth"], block),
        "visual.merger.ln_q.weight": (d,),
        **_linear("visual.merger.mlp.0", merged, merged),
        **_linear("visual.merger.mlp.2", vision["out_hidden_size"], merged),
        "model.embed_tokens.weight": vocabulary,
        **_repeated("model.layers", text["num_hidden_layers"], layer),
        "model.norm.weight": (h,),
        **({} if tied else {"lm_head.weight": vocabulary}),
    }


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _repeated(name: str, count: int, shapes: Shapes) -> Shapes:
    return {f"{name}.{n}.{part}": shape for n in range(count) for part, shape in shapes.items()}


def _v5_name(name: str) -> str:
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model."):
        return f"model.language_model.{name.removeprefix('model.')}"
    return name


def _write_weights(path: Path, tensors: dict[str, np.ndarray], shards: int) -> None:
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, path / "model.safetensors", metadata=metadata)
        return
    weight_map = {}
    for shard, names in enumerate(np.array_split(np.array(sorted(tensors)), shards), start=1):
        file = f"model-{shard:05d}-of-{shards:05d}.safetensors"
        save_file({str(n): tensors[str(n)] for n in names}, path / file, metadata=metadata)
        weight_map.update({str(n): file for n in names})
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(path / "model.safetensors.index.json", index)


def _config(
    model: FreshModel, text: Mapping[str, Any], vision: Mapping[str, Any], ids: Mapping[str, int]
) -> dict[str, Any]:
    section = list(model.mrope_section)
    shared = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": model.tied,
    }
    token_ids = {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"]}
    inert = {"use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 70}
    if model.layout == "hub":
        return {
            **shared,
            **token_ids,
            **inert,
            **text,
            "rope_theta": 1e6,
            "rope_scaling": {"type": "mrope", "mrope_section": section},
            "torch_dtype": model.dtype,
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
        "dtype": model.dtype,
        "text_config": {**token_ids, **inert, **text, **text_only, "dtype": model.dtype},
        "vision_config": {**vision, **vision_only, "dtype": model.dtype},
    }


def _write_tokenizer(path: Path, words: Sequence[str]) -> tuple[dict[str, int], int]:
    """Writes a byte-level BPE tokenizer; returns the ids of its added tokens and its length."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as pre

    vocab = {byte: i for i, byte in enumerate(sorted(pre.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    bytes_of = pre.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    for word in words:
        for spelled in (bytes_of(" " + word)[0][0], bytes_of(word)[0][0]):
            for end in range(1, len(spelled)):
                pair = (spelled[:end], spelled[end])
                if pair not in merges:
                    merges.append(pair)
                    vocab.setdefault("".join(pair), len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(SPLIT), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ADDED_TOKENS])
    tokenizer.save(str(path / "tokenizer.json"))

    ids = {t: len(vocab) + i for i, t in enumerate(SPECIAL_TOKENS + ADDED_TOKENS)}
    _write_json(path / "vocab.json", vocab)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    decoder = {
        str(i): {"content": token, "special": token in SPECIAL_TOKENS, **flags}
        for token, i in ids.items()
    }
    _write_json(
        path / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "added_tokens_decoder": decoder,
            "additional_special_tokens": SPECIAL_TOKENS[1:],
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": 131072,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return ids, tokenizer.get_vocab_size(with_added_tokens=True)


def _write_processor_files(path: Path, ids: Mapping[str, int], min_pixels: int) -> None:
    _write_json(path / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    _write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "min_pixels": min_pixels,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
    )
    _write_json(
        path / "generation_config.json",
        {
            "bos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "do_sample": True,
            "temperature": 1e-6,
            "repetition_penalty": 1.05,
        },
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
