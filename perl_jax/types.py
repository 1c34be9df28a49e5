"""The dataclasses that flow from the data source to the policy."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Turn:
    """A message that stands before the question of an example.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        text: The message. In those of the system and the user, ``<image>`` shows an image.
    """

    role: str
    text: str


@dataclass(frozen=True)
class Example:
    """One task row.

    Attributes:
        id: Unique within its source; it seeds the orders that are drawn for the example.
        source: The data set that the row comes from; it selects the permutation rule.
        question: The question text. ``<image>`` (or ``<image 1>``, ``<image1>``, ``<image_1>``)
            stands where an image is shown.
        images: One per slot, in reading order, those of the turns first. What an image may be: see
            ``perl_jax.processing``.
        answer: The ground truth as it is graded: a letter, a number, an order, a phrase.
        options: The choices of a multiple-choice row, as they are shown, letter included.
        metadata: Columns of the source that rules and metrics read, such as ``question_type``.
        turns: The conversation before the question: a system message, earlier questions and the
            answers to them. Permutation rewrites it as it does the question.
        place: Where the row stands, as in ``train.parquet:17``; for messages, never compared.
    """

    id: str
    source: str
    question: str
    images: tuple[Any, ...]
    answer: str
    options: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class ImagePatches:
    """One preprocessed image: what the vision tower reads.

    Attributes:
        patches: float32 ``[P, channels * temporal_patch * patch * patch]``, normalised. Rows are
            unit-major: each ``merge * merge`` consecutive rows form the square that becomes one
            language-model token, and these units are in raster order.
        grid: Rows and columns of the image in patches, each a multiple of ``merge``; P is their
            product.
        key: The image's identity, a new one by default. Copies keep it, those in another process
            too: images with the same key are one image.
        digest: The name of the picture in logs, made of its content; empty if it has none.
    """

    patches: np.ndarray
    grid: tuple[int, int]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    digest: str = ""

    @property
    def num_patches(self) -> int:
        """P, whether this host holds the patches or not."""
        return self.grid[0] * self.grid[1]


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

    @property
    def next_position(self) -> int:
        """The position of the first token after the prompt, the same on all axes."""
        return len(self.tokens) + self.rope_delta


@dataclass(frozen=True, eq=False)
class Group:
    """One example under K orders: what is sampled together.

    Attributes:
        id: Names the example. With the sampler's key it fixes the random streams of its rollouts,
            in any batch and at any place in it.
        prompts: The distinct prompts, the identity order first.
        images: The I distinct images that the prompts show.
        slots: For each prompt, which of ``images`` stands in each of its slots.
        asked: For each of the K orders, the number of its prompt. An example that keeps its order
            asks the same prompt K times; it is read once.
        feed: The feed (see `perl_jax.mesh.BatchSharding`) whose hosts hold the patches of the
            images. On the hosts of other feeds the patches are empty arrays, and everything else
            is the same. None: every host holds them.
    """

    id: str
    prompts: tuple[Prompt, ...]
    images: tuple[ImagePatches, ...]
    slots: tuple[tuple[int, ...], ...]
    asked: tuple[int, ...]
    feed: int | None = None

    @property
    def num_orders(self) -> int:
        """K, the number of orders that responses are drawn to."""
        return len(self.asked)

    @classmethod
    def of(cls, id: str, orders: Sequence[Prompt]) -> "Group":
        """Makes a group of the prompts of K orders.

        A prompt that is given several times is read once, and so is an image, by its ``key``.

        Raises:
            ValueError: There are no prompts.
        """
        if not orders:
            raise ValueError(f"group {id!r}: expected at least one prompt, got none")
        numbers = {same: n for n, same in enumerate(dict.fromkeys(map(_identity, orders)))}
        asked = tuple(numbers[_identity(prompt)] for prompt in orders)
        prompts = [orders[asked.index(n)] for n in range(len(numbers))]
        images: dict[str, ImagePatches] = {}
        for prompt in prompts:
            for image in prompt.images:
                images.setdefault(image.key, image)
        number = {key: n for n, key in enumerate(images)}
        slots = tuple(tuple(number[image.key] for image in prompt.images) for prompt in prompts)
        return cls(id, tuple(prompts), tuple(images.values()), slots, asked)


def _identity(prompt: Prompt) -> int:
    """Tells the objects apart: ``id`` is a field of `Group`."""
    return id(prompt)


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The responses to B groups: up to K orders each, N rollouts an order, up to R tokens.

    Attributes:
        tokens: int32 ``[B, K, N, R]``, the end token or the token that completed a stop string
            included; padding after it.
        logprobs: float32 ``[B, K, N, R]``, of the policy at the sampling temperature; 0 at padding.
        lengths: int32 ``[B, K, N]``; 0 where a group has fewer than K orders.
        stopped: bool ``[B, K, N]``, True where the response ended itself, False where it was cut
            off at the most tokens allowed.
        stats: What the sampler did: counts of programs, tokens and padding.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    lengths: np.ndarray
    stopped: np.ndarray
    stats: Mapping[str, float] = field(default_factory=dict)

    @property
    def mask(self) -> np.ndarray:
        """Bool ``[B, K, N, R]``, True at the tokens of a response."""
        return np.arange(self.tokens.shape[-1]) < self.lengths[..., None]

    def texts(self, decode: Callable[[np.ndarray], str]) -> list[list[list[str]]]:
        """The responses as text by ``processor.decode``, nested as groups, orders, rollouts."""
        return [
            [
                [decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)]
                for tokens, lengths in zip(*group, strict=True)
                if lengths.any()
            ]
            for group in zip(self.tokens, self.lengths, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses to B groups, as the trainer reads them.

    Attributes:
        tokens: int32 ``[B, K, N, R]``; anything at padding.
        lengths: int32 ``[B, K, N]``; 0 where a group has fewer than K orders.
    """

    tokens: np.ndarray
    lengths: np.ndarray

    def __post_init__(self) -> None:
        if self.tokens.ndim != 4 or self.tokens.shape[:3] != self.lengths.shape:
            raise ValueError(
                f"responses: expected tokens [B, K, N, R] and lengths [B, K, N]; "
                f"got {list(self.tokens.shape)} and {list(self.lengths.shape)}"
            )
        if (self.lengths > self.tokens.shape[-1]).any():
            raise ValueError(
                f"responses: expected lengths of at most R = {self.tokens.shape[-1]}; "
                f"got {self.lengths.max()}"
            )

    def __getitem__(self, groups: slice | Sequence[int]) -> "Responses":
        """Those to some of the groups."""
        return Responses(self.tokens[groups], self.lengths[groups])

    @property
    def valid(self) -> np.ndarray:
        """Bool ``[B, K, N, R]``, True at the tokens of a response."""
        return np.arange(self.tokens.shape[-1]) < self.lengths[..., None]


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """What one step learns from: B groups of up to K orders of N rollouts of up to R tokens.

    Attributes:
        groups: The informative groups in the order drawn, at least one. There may be fewer than a
            step asks for, and any number: the learner deals them over its updates.
        tokens: As of `Responses`.
        lengths: As of `Responses`.
        logprobs: float32 ``[B, K, N, R]``, as the sampler reported them.
        rewards: float32 ``[B, K, N]``; 0 without a grade.
        advantages: float32 ``[B, K, N]``, of these rewards; ``[B, K, N, R]`` if tokens have their
            own.
        mask: bool ``[B, K, N, R]``: the tokens that count in the loss. Rollouts without a grade
            have none.
        old: float32 ``[B, K, N, R]``, log-probabilities of the policy before the batch, if they
            are known already.
    """

    groups: tuple[Group, ...]
    tokens: np.ndarray
    lengths: np.ndarray
    logprobs: np.ndarray
    rewards: np.ndarray
    advantages: np.ndarray
    mask: np.ndarray
    old: np.ndarray | None = None


PROMPT_SUFFIX = "prompt_suffix"
"""The metadata of an example that its question ends with: instructions, which no rule rewrites."""
PROMPT_TEMPLATE = "prompt_template"
"""The metadata with the text around the question: `QUESTION` stands for it. No rule rewrites it."""
SYSTEM_PROMPT = "system_prompt"
"""The metadata with the system message of an example whose turns have none; no rule rewrites it."""
QUESTION = "{question}"


def prompt_text(example: Example) -> str:
    """The message that asks: the question, its options and the suffix, within the template."""
    suffix = example.metadata.get(PROMPT_SUFFIX, "")
    text = "\n".join((example.question, *example.options)) + suffix
    return example.metadata.get(PROMPT_TEMPLATE, QUESTION).replace(QUESTION, text)


def prompt_of(example: Example) -> str | list[dict[str, str]]:
    """What a processor encodes: `prompt_text`, or messages if there are others before it."""
    turns = example.turns
    system = example.metadata.get(SYSTEM_PROMPT)
    if system and not any(turn.role == "system" for turn in turns):
        turns = (Turn("system", system), *turns)
    if not turns:
        return prompt_text(example)
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    return [*messages, {"role": "user", "content": prompt_text(example)}]


def conversation_text(example: Example) -> str:
    """The turns and `prompt_text`, one below the other: all that a row says, to be read whole."""
    return "\n".join((*(turn.text for turn in example.turns), prompt_text(example)))
