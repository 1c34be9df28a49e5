"""The dataclasses that flow from the data source to the policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Example:
    """One task row.

    Attributes:
        id: Unique within its source; it seeds the orders that are drawn for the example.
        source: The data set that the row comes from; it selects the permutation rule.
        question: The question text. ``<image>`` (or ``<image 1>``, ``<image1>``, ``<image_1>``)
            stands where an image is shown.
        images: One per slot, in reading order. What an image may be: see ``perl_jax.processing``.
        answer: The ground truth as it is graded: a letter, a number, an order, a phrase.
        options: The choices of a multiple-choice row, as they are shown, letter included.
        metadata: Columns of the source that rules and metrics read, such as ``question_type``.
    """

    id: str
    source: str
    question: str
    images: tuple[Any, ...]
    answer: str
    options: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImagePatches:
    """One preprocessed image: what the vision tower reads.

    Attributes:
        patches: float32 ``[P, channels * temporal_patch * patch * patch]``, normalised. Rows are
            unit-major: each ``merge * merge`` consecutive rows form the square that becomes one
            language-model token, and these units are in raster order.
        grid: Rows and columns of the image in patches, each a multiple of ``merge``; P is their
            product.
    """

    patches: np.ndarray
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One example under one order, tokenised.

    Attributes:
        tokens: int32 ``[T]``; every image occupies as many image tokens as it has merged features.
        positions: int32 ``[3, T]``, the temporal, height and width positions of multimodal RoPE.
        rope_delta: What is added to the number of tokens before it to give a generated token's
            position: ``max(positions) + 1 - T``.
        images: The images in the order in which their tokens stand in ``tokens``.
    """

    tokens: np.ndarray
    positions: np.ndarray
    rope_delta: int
    images: tuple[ImagePatches, ...] = ()
