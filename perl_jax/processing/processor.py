"""The processor: from text and images to a prompt, and from tokens back to text."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perl_jax.hub import resolve_directory
from perl_jax.legible import field_name
from perl_jax.processing.chat import THOUGHT, ChatTemplate, read_chat_template
from perl_jax.processing.conversation import check_texts, read_conversation
from perl_jax.processing.decode import load_rgb
from perl_jax.processing.errors import ImageError
from perl_jax.processing.files import integer, read_json, read_optional_json
from perl_jax.processing.images import ImageSettings, extract_patches, read_image_settings
from perl_jax.processing.positions import multimodal_positions
from perl_jax.types import ImagePatches, Prompt

# Names, not ids: tokenizers differ in which of them they have and where.
_VISION_TOKENS = (
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# Some tokenizers hold these as special tokens, yet they are part of what a model says.
_SPOKEN_TOKENS = (THOUGHT, "</think>", "<answer>", "</answer>")
_VISION_FIELDS = (
    "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id",
    "vision_token_id",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Processor:
    """Encodes prompts for a model and decodes its responses.

    Attributes:
        tokenizer: The transformers tokenizer of the model directory.
        image_token: The id that stands for one merged feature of an image.
        pad_token: The id that fills batches.
        stop_tokens: The ids that end a response.
        banned_tokens: The ids that stand for or delimit images and videos. A response with one
            could not be read back, so a policy must never emit them; see `banned_rows`.
        special_tokens: The control tokens, as text; prompts that hold one are refused. Marks of a
            thought or an answer, ``<think>`` and such, are never among them.
        hidden_tokens: The ids of the control tokens, which decoding leaves out.
        opening: What the chat template writes before a response, from ``<think>`` on; else empty.
        vocab_size: The number of tokens; the embedding may have more rows.
    """

    tokenizer: Any
    chat_template: ChatTemplate
    image_settings: ImageSettings
    image_token: int
    pad_token: int
    stop_tokens: tuple[int, ...]
    banned_tokens: tuple[int, ...]
    special_tokens: tuple[str, ...]
    hidden_tokens: frozenset[int]
    opening: str
    vocab_size: int

    def encode(
        self, text_or_messages: str | Sequence[Mapping[str, Any]], images: Sequence[Any] | None = ()
    ) -> Prompt:
        """Encodes a prompt.

        ``<image>`` in the text shows the next image; ``<image 2>``, ``<image2>`` or ``<image_2>``
        show the second one. The assistant's turn is opened at the end, unless the last message is
        the assistant's. A picture shown or listed twice is one object in ``Prompt.images``.

        Args:
            text_or_messages: See `perl_jax.processing.read_conversation`.
            images: Anything that `load_rgb` reads, or results of `preprocess`, so that an image of
                several prompts is preprocessed once.

        Raises:
            PromptError: The text or its placeholders are unusable.
            ImageError: An image is unusable; the message names it as "image k of the prompt".
        """
        conversation = read_conversation(text_or_messages, images)
        check_texts(conversation.texts, self.special_tokens)
        patches: list[ImagePatches] = []
        for k, image in enumerate(conversation.images, 1):
            patches += [self.preprocess(image, name=f"image {k} of the prompt", known=patches)]
        shown = tuple(patches[k] for k in conversation.shown)
        rendered = self.chat_template.render(self.tokenizer, conversation.messages)
        ids = np.asarray(self.tokenizer(rendered)["input_ids"], np.int32)
        tokens = self._expand(ids, shown)
        grids = [image.grid for image in shown]
        positions, rope_delta = multimodal_positions(
            tokens == self.image_token, grids, merge_size=self.image_settings.merge_size
        )
        return Prompt(tokens, positions, rope_delta, shown)

    def preprocess(
        self, image: Any, *, name: str = "image", known: Sequence[ImagePatches] = ()
    ) -> ImagePatches:
        """Turns an image (anything that `load_rgb` reads) into patches; patches stay as they are.

        If one of the ``known`` images shows the same picture, that one is returned.

        Raises:
            ImageError: The image is unusable; the message starts with ``name``.
        """
        try:
            if isinstance(image, ImagePatches):
                self._check_patches(image)
                patches = image
            else:
                patches = extract_patches(load_rgb(image), self.image_settings)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
        return next((other for other in known if _alike(patches, other)), patches)

    def encode_response(self, text: str) -> np.ndarray:
        """The tokens of a response, int32 ``[R]``, with a stop token; PromptError as `encode`.

        A thought that the template has opened is not opened again.
        """
        check_texts([text], self.special_tokens)
        if self.opening and "</think>" not in self.opening and text.startswith(THOUGHT):
            text = text.removeprefix(self.opening).removeprefix(THOUGHT)
        return np.asarray([*self.tokenizer(text)["input_ids"], self.stop_tokens[0]], np.int32)

    def decode(
        self, tokens: Sequence[int] | np.ndarray, *, skip_special_tokens: bool = True
    ) -> str:
        """The text of tokens, int ``[R]``; control tokens are left out by default."""
        ids = np.asarray(tokens, np.int64).tolist()
        if skip_special_tokens:
            ids = [token for token in ids if token not in self.hidden_tokens]
        return self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def check_template(self) -> None:
        """Raises ValueError, naming its file, if the chat template cannot take images."""
        image = self.tokenizer.convert_ids_to_tokens(self.image_token)
        self.chat_template.check_images(self.tokenizer, image)

    def banned_rows(self, num_rows: int) -> np.ndarray:
        """The rows that a policy must never draw: `banned_tokens` and all beyond the vocabulary.

        The result is bool ``[num_rows]``, for an unembedding of that many rows.

        Raises:
            ValueError: There are fewer rows than tokens.
        """
        if num_rows < self.vocab_size:
            raise ValueError(
                f"the model has {num_rows} vocabulary rows for a tokenizer of {self.vocab_size}"
            )
        banned = np.arange(num_rows) >= self.vocab_size
        banned[list(self.banned_tokens)] = True
        return banned

    def _expand(self, ids: np.ndarray, images: Sequence[ImagePatches]) -> np.ndarray:
        """Repeats each image token as often as its image has merged features."""
        is_image = ids == self.image_token
        if np.count_nonzero(is_image) != len(images):
            raise ValueError(
                f"{self.chat_template.source}: the chat template cannot take images: it gives "
                f"{np.count_nonzero(is_image)} image tokens for {len(images)} images"
                + ("" if is_image.any() else ": it cannot take images")
            )
        unit = self.image_settings.merge_size**2
        repeats = np.ones(len(ids), np.int64)
        repeats[is_image] = [image.num_patches // unit for image in images]
        return np.repeat(ids, repeats)

    def _check_patches(self, image: ImagePatches) -> None:
        settings = self.image_settings
        width = 3 * settings.temporal_patch_size * settings.patch_size**2
        rows, columns = image.grid
        if image.patches.shape != (rows * columns, width) or image.patches.dtype != np.float32:
            raise ImageError(
                f"patches {image.patches.dtype} {list(image.patches.shape)} for a grid of "
                f"{rows}x{columns}: expected float32 [{rows * columns}, {width}]"
            )
        if rows % settings.merge_size or columns % settings.merge_size:
            raise ImageError(f"a grid of {rows}x{columns} is not made of whole tokens")
        # Those that were cut from a picture have a digest; comparing them takes milliseconds.
        frames = image.patches.reshape(len(image.patches), 3, settings.temporal_patch_size, -1)
        if not image.digest and not (frames == frames[:, :, :1]).all():
            raise ImageError("patches of several frames: expected those of a still image")


def _alike(a: ImagePatches, b: ImagePatches) -> bool:
    # Comparing all numbers takes milliseconds; nearly all pairs differ in these few.
    some = slice(None, None, 61)
    return (
        a.grid == b.grid
        and np.array_equal(a.patches[some], b.patches[some])
        and np.array_equal(a.patches, b.patches)
    )


def load_processor(
    path: str | Path, *, min_pixels: int | None = None, max_pixels: int | None = None
) -> Processor:
    """Loads the tokenizer, chat template and image settings of a model directory or hub id.

    ``min_pixels`` and ``max_pixels`` replace the directory's values, see `ImageSettings`. An image
    token covers ``(patch_size * merge_size)**2`` pixels.

    Raises:
        FileNotFoundError: ``path`` is no model, or lacks a file.
        ValueError: A file of the directory or an argument is wrong; the message names the field.
    """
    directory = resolve_directory(path)
    image_settings = read_image_settings(directory, min_pixels=min_pixels, max_pixels=max_pixels)
    config = read_json(directory / "config.json")
    _check_vision(config, image_settings, directory)
    where = f"{directory / 'config.json'}: image_token_id"
    image_token = integer(config.get("image_token_id"), where, minimum=0)
    chat_template = read_chat_template(directory)
    tokenizer = _load_tokenizer(directory)
    generation = read_optional_json(directory / "generation_config.json")
    special = _special_tokens(tokenizer)
    return Processor(
        tokenizer=tokenizer,
        chat_template=chat_template,
        image_settings=image_settings,
        image_token=image_token,
        pad_token=_pad_token(tokenizer, generation, directory),
        stop_tokens=_stop_tokens(tokenizer, generation, directory),
        banned_tokens=_banned_tokens(tokenizer, config),
        special_tokens=special,
        hidden_tokens=frozenset(tokenizer.convert_tokens_to_ids(list(special))),
        opening=chat_template.opening(tokenizer),
        vocab_size=len(tokenizer),
    )


def _load_tokenizer(directory: Path) -> Any:
    # Its tokenizers need no PyTorch, so no warning that it is missing.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    # Importing takes seconds, and image preprocessing does not need it.
    import transformers

    if (directory / "tokenizer.json").is_file():
        # All of the tokenizer is in this file. The automatic class would also import PyTorch.
        kind: Any = transformers.PreTrainedTokenizerFast
    elif (directory / "vocab.json").is_file():
        kind = transformers.AutoTokenizer
    else:
        raise FileNotFoundError(f"{directory}: the model directory lacks tokenizer.json")
    try:
        return kind.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    # The tokenizers library raises a bare Exception for files that it cannot parse.
    except Exception as error:
        why = field_name(error)
        raise ValueError(f"{directory}: the tokenizer cannot be loaded: {why}") from error


def _check_vision(config: Mapping[str, Any], settings: ImageSettings, directory: Path) -> None:
    """Refuses other patch sizes than the model's; they would fail far from here, or not at all."""
    vision = config.get("vision_config") or {}
    for field, value in (
        ("patch_size", settings.patch_size),
        ("temporal_patch_size", settings.temporal_patch_size),
        ("spatial_merge_size", settings.merge_size),
    ):
        if vision.get(field, value) != value:
            raise ValueError(
                f"{directory / 'config.json'}: vision_config.{field} is {vision[field]}, but the "
                f"image processor's settings say {value}"
            )


def _stop_tokens(tokenizer: Any, generation: Mapping[str, Any], directory: Path) -> tuple[int, ...]:
    value = generation.get("eos_token_id")
    if value is None:
        value = tokenizer.eos_token_id
    values = value if isinstance(value, list) else [value]
    if not values or None in values:
        raise ValueError(
            f"{directory}: no end-of-sequence token: expected eos_token_id in "
            "generation_config.json or eos_token in tokenizer_config.json"
        )
    where = f"{directory / 'generation_config.json'}: eos_token_id"
    return tuple(integer(item, where, minimum=0) for item in values)


def _pad_token(tokenizer: Any, generation: Mapping[str, Any], directory: Path) -> int:
    value = tokenizer.pad_token_id
    if value is None:
        value = generation.get("pad_token_id")
    if value is None:
        raise ValueError(
            f"{directory}: no padding token: expected pad_token in tokenizer_config.json or "
            "pad_token_id in generation_config.json"
        )
    return integer(value, f"{directory}: pad_token_id", minimum=0)


def _banned_tokens(tokenizer: Any, config: Mapping[str, Any]) -> tuple[int, ...]:
    ids = {config[field] for field in _VISION_FIELDS if config.get(field) is not None}
    added = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
    return tuple(sorted(ids | {added[token] for token in _VISION_TOKENS if token in added}))


def _special_tokens(tokenizer: Any) -> tuple[str, ...]:
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted((special | set(tokenizer.all_special_tokens)) - set(_SPOKEN_TOKENS)))
