"""Parts of fresh model directories, for all families."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Layout = Literal["hub", "v5"]
Shapes = dict[str, tuple[int, ...]]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """What a config.json says.

    Attributes:
        text: The sizes of the language model.
        vision: The sizes of the vision tower.
        ids: Token ids by token.
        layout: As published, or as transformers 5 writes it.
        tied: Whether the unembedding is the embedding.
        dtype: The dtype of the stored tensors.
        mrope_section: Frequencies per position axis.
    """

    text: Json
    vision: Json
    ids: Mapping[str, int]
    layout: Layout
    tied: bool
    dtype: str
    mrope_section: tuple[int, ...]


@dataclass(frozen=True)
class FreshFamily:
    """What the directories of a family hold.

    Attributes:
        text: Default sizes of the language model.
        vision: Default sizes of the vision tower.
        added_tokens: The tokens that are added after the special ones.
        chat_template: The text of the chat template.
        generation: The fields of generation_config.json that are not token ids.
        shapes: The shapes of the stored tensors by published name, of ``text``, ``vision`` and
            whether the unembedding is tied.
        config: The content of config.json.
        preprocessor: The content of preprocessor_config.json, for a smallest area in pixels.
        v5_name: The name that transformers 5 gives a tensor of this published name.
    """

    text: Json
    vision: Json
    added_tokens: tuple[str, ...]
    chat_template: str
    generation: Json
    shapes: Callable[[Json, Json, bool], Shapes]
    config: Callable[[Described], Json]
    preprocessor: Callable[[int], Json]
    v5_name: Callable[[str], str]


def linear(name: str, out: int, into: int) -> Shapes:
    """The weight and the bias of a linear map."""
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    """The weight and the bias of a layer norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def repeated(name: str, count: int, shapes: Shapes) -> Shapes:
    """The tensors of equal layers."""
    return {f"{name}.{n}.{part}": shape for n in range(count) for part, shape in shapes.items()}


def shared_fields(described: Described) -> dict[str, Any]:
    """The fields that all layouts have at the root."""
    ids = described.ids
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": described.tied,
    }


def text_tokens(described: Described) -> dict[str, int]:
    """The token ids that the language model's fields hold."""
    ids = described.ids
    return {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"]}
