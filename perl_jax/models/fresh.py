"""Model directories with all published files, but other sizes, vocabulary and weights."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from perl_jax.models.fresh_parts import Described, FreshFamily, Layout
from perl_jax.models.qwen2_5_vl import fresh as qwen2_5_vl
from perl_jax.models.qwen3_vl import fresh as qwen3_vl
from perl_jax.settings import Checked, Count

# (generator, hub name, shape) -> float array
Draw = Callable[[np.random.Generator, str, tuple[int, ...]], np.ndarray]

FAMILIES: Mapping[str, FreshFamily] = {
    "qwen2_5_vl": qwen2_5_vl.FRESH,
    "qwen3_vl": qwen3_vl.FRESH,
}

# In the order of the published tokenizer.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip

# Splits text into words, single digits, runs of punctuation and white space, as GPT-4 does.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class FreshModel(Checked):
    """The content of a fresh model directory.

    Attributes:
        family: The architecture.
        text: Replaces fields of the family's text configuration, see its ``fresh.py``.
        vision: Replaces fields of its vision configuration.
        mrope_section: Frequencies per position axis; they sum to half the head width.
        words: Words that become single tokens, with and without a space before them.
        tied: Whether the unembedding is the embedding (as in 3B) or a separate tensor (as in 7B).
        layout: Weight names and config.json: "hub" as published, "v5" as transformers 5 writes
            them.
        shards: The number of safetensors files; several come with an index.
        dtype: The dtype of the stored tensors.
        min_pixels: Smaller images are enlarged to this area.
        seed: The seed of the weights. The same fields give the same bytes.
    """

    family: Literal["qwen2_5_vl", "qwen3_vl"] = "qwen2_5_vl"
    text: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    mrope_section: tuple[Count, ...] = (4, 6, 6)
    words: tuple[str, ...] = ()
    tied: bool = True
    layout: Layout = "hub"
    shards: Count = 1
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    min_pixels: Count = 3136
    seed: int = 0


def initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Initial weights for training: matrices keep the scale of their input, norms 1, biases 0."""
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if "norm" in name or "ln_q" in name:
        return np.ones(shape, np.float32)
    is_table = "embed_tokens" in name or "pos_embed" in name
    deviation = 0.05 if is_table else 1 / math.sqrt(math.prod(shape[1:]))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def write_fresh_model(path: str | Path, model: FreshModel, *, draw: Draw = initial) -> Path:
    """Writes a model directory, created if absent, with the weights of ``draw``; returns it."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    family = FAMILIES[model.family]
    ids, num_tokens = _write_tokenizer(path, model.words, family)
    # As published, the embedding has more rows than the tokenizer has tokens.
    vocab_size = -(-(num_tokens + 10) // 32) * 32
    text = {"vocab_size": vocab_size, **family.text, **model.text}
    vision = {**family.vision, **model.vision, "out_hidden_size": text["hidden_size"]}
    _write_processor_files(path, ids, family, model.min_pixels)
    described = Described(
        text, vision, ids, model.layout, model.tied, model.dtype, model.mrope_section
    )
    _write_json(path / "config.json", family.config(described))
    rng = np.random.default_rng(model.seed)
    dtype = ml_dtypes.bfloat16 if model.dtype == "bfloat16" else np.float32
    shapes = family.shapes(text, vision, model.tied)
    tensors = {name: draw(rng, name, shape).astype(dtype) for name, shape in shapes.items()}
    if model.layout == "v5":
        tensors = {family.v5_name(name): tensor for name, tensor in tensors.items()}
    _write_weights(path, tensors, model.shards)
    return path


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


def _write_tokenizer(
    path: Path, words: Sequence[str], family: FreshFamily
) -> tuple[dict[str, int], int]:
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
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in family.added_tokens])
    tokenizer.save(str(path / "tokenizer.json"))

    ids = {t: len(vocab) + i for i, t in enumerate((*SPECIAL_TOKENS, *family.added_tokens))}
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
            "chat_template": family.chat_template,
        },
    )
    return ids, tokenizer.get_vocab_size(with_added_tokens=True)


def _write_processor_files(
    path: Path, ids: Mapping[str, int], family: FreshFamily, min_pixels: int
) -> None:
    _write_json(path / "chat_template.json", {"chat_template": family.chat_template})
    _write_json(path / "preprocessor_config.json", family.preprocessor(min_pixels))
    tokens = {
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
    }
    _write_json(path / "generation_config.json", {**tokens, **family.generation})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
