"""Reading prompts of any form as messages for the template and images in reading order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perl_jax.legible import brief, name_list
from perl_jax.processing.errors import PromptError
from perl_jax.processing.placeholders import Slot, find_slots, split_placeholders

ROLES = ("system", "user", "assistant")

# More than any context window holds; tokenising a stray file of 100 MB would stall a worker.
MAX_CHARACTERS = 2**22

Piece = str | Slot


@dataclass(frozen=True)
class _Inline:
    """An image inside a message part."""

    image: Any


@dataclass(frozen=True)
class Conversation:
    """The messages and images of a prompt.

    Attributes:
        messages: For the chat template: ``role``, and ``content`` as a string or, with images, as
            parts ``{"type": "text", "text": ...}`` and ``{"type": "image"}``.
        images: The given images, each once.
        shown: For each image part, in reading order, the index of its image in ``images``.
    """

    messages: tuple[dict[str, Any], ...]
    images: tuple[Any, ...]
    shown: tuple[int, ...]

    @property
    def texts(self) -> list[str]:
        """The stretches of text between images."""
        contents = (message["content"] for message in self.messages)
        parts = ([{"text": c}] if isinstance(c, str) else c for c in contents)
        return [part["text"] for of_message in parts for part in of_message if "text" in part]


def read_conversation(prompt: Any, images: Any = ()) -> Conversation:
    """Reads a prompt.

    Args:
        prompt: The text of one user message, or messages ``{"role", "content"}`` whose content is
            text or a list of parts ``{"type": "text", "text": ...}``, ``{"type": "image"}`` or
            ``{"type": "image", "image": ...}``. Keys that hold None count as absent. Placeholders
            are read in system and user texts; the assistant's text is kept as it is.
        images: The images that placeholders and empty image parts show, empty if parts hold their
            images. Plain placeholders show them in turn, numbered ones by number, in any order and
            repeatedly; every image must be shown.

    Raises:
        PromptError: The prompt has another form, or its placeholders do not fit its images.
    """
    images = _items(() if images is None else images, "images")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    turns = enumerate(_items(prompt, "prompt"))
    read = [_read_message(message, f"messages[{i}]") for i, message in turns]
    if not read:
        raise PromptError("the prompt has no messages")
    slots = [piece for _, pieces in read for piece in pieces if not isinstance(piece, str)]
    images, shown = _match(slots, images)
    messages = tuple({"role": role, "content": _content(pieces)} for role, pieces in read)
    return Conversation(messages, images, shown)


def _items(value: Any, name: str) -> tuple[Any, ...]:
    # Rows read through pandas hold lists as arrays of objects.
    if isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1
    ):
        return tuple(value)
    raise PromptError(f"{name}: expected a list, got {type(value).__name__}")


def _fields(value: Any, where: str, allowed: Sequence[str]) -> dict[str, Any]:
    """The fields of a message or part, without None (which Arrow writes for absent ones)."""
    if not isinstance(value, Mapping):
        raise PromptError(f"{where}: expected a mapping, got {type(value).__name__}")
    fields = {key: item for key, item in value.items() if item is not None}
    for key in fields:
        if key not in allowed:
            raise PromptError(
                f"{where}: expected the fields {', '.join(allowed)}; got {brief(key)}"
            )
    return fields


def _read_message(message: Any, where: str) -> tuple[str, list[Piece | _Inline]]:
    fields = _fields(message, where, ("role", "content"))
    role, content = fields.get("role"), fields.get("content")
    if role not in ROLES:
        raise PromptError(f"{where}.role: expected one of {', '.join(ROLES)}; got {brief(role)}")
    if content is None:
        raise PromptError(f"{where}.content is missing")
    pieces: list[Piece | _Inline]
    if isinstance(content, str):
        pieces = [content] if role == "assistant" else list(split_placeholders(content))
    else:
        pieces = []
        for i, part in enumerate(_items(content, f"{where}.content")):
            piece = _read_part(part, f"{where}.content[{i}]", verbatim=role == "assistant")
            # The template joins neighbouring texts without a gap, so they are checked as one.
            last = pieces[-1] if pieces else None
            if isinstance(piece, str) and isinstance(last, str):
                pieces[-1] = last + piece
            else:
                pieces.append(piece)
    if role == "user" and not any(not isinstance(p, str) or p.strip() for p in pieces):
        raise PromptError(f"{where}: the message is empty")
    return role, pieces


def _read_part(part: Any, where: str, *, verbatim: bool) -> Piece | _Inline:
    fields = _fields(part, where, ("type", "text", "image"))
    kind = fields.get("type")
    if kind == "image" and "text" not in fields:
        return _Inline(fields["image"]) if "image" in fields else Slot(None, "image part")
    if kind != "text" or "image" in fields or not isinstance(fields.get("text"), str):
        raise PromptError(
            f"{where}: expected {{'type': 'text', 'text': ...}} or {{'type': 'image'}}, "
            f"got type {brief(kind)} with the fields {name_list(sorted(map(str, fields)))}"
        )
    if not verbatim and (slots := find_slots(fields["text"])):
        raise PromptError(
            f"{where}: the text holds {slots[0].text!r}; in a list of parts, an image is a "
            "part {'type': 'image'}"
        )
    return fields["text"]


def _match(
    slots: Sequence[Slot | _Inline], images: tuple[Any, ...]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Returns the images, and the index of the image that each slot shows."""
    inline = [slot.image for slot in slots if isinstance(slot, _Inline)]
    listed = [slot for slot in slots if isinstance(slot, Slot)]
    if inline:
        if images or listed:
            raise PromptError(
                f"{len(inline)} message parts hold their images, so no other image may be given or "
                f"asked for; got {len(images)} in the list and {len(listed)} placeholders"
            )
        return tuple(inline), tuple(range(len(inline)))
    numbered = [slot for slot in listed if slot.number is not None]
    if not numbered:
        if len(listed) != len(images):
            raise PromptError(f"{len(listed)} image placeholders for {len(images)} images")
        return images, tuple(range(len(images)))
    if len(numbered) < len(listed):
        plain = next(slot for slot in listed if slot.number is None)
        raise PromptError(
            f"plain and numbered placeholders in one prompt: {plain.text!r}, {numbered[0].text!r}"
        )
    return images, _numbered(numbered, len(images))


def _numbered(slots: Sequence[Slot], num_images: int) -> tuple[int, ...]:
    shown = []
    for slot in slots:
        if slot.number is None or not 1 <= slot.number <= num_images:
            raise PromptError(
                f"{slot.text!r} asks for an image that is not there: "
                f"{len(slots)} image placeholders for {num_images} images, counted from 1"
            )
        shown.append(slot.number - 1)
    missing = [str(k + 1) for k in range(num_images) if k not in shown]
    if missing:
        raise PromptError(
            f"no placeholder shows image {', '.join(missing)}: "
            f"{len(slots)} image placeholders for {num_images} images"
        )
    return tuple(shown)


def _content(pieces: Sequence[Piece | _Inline]) -> str | list[dict[str, str]]:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) == len(pieces):
        return "".join(texts)
    return [
        {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image"}
        for piece in pieces
    ]


def check_texts(texts: Sequence[str], special_tokens: Sequence[str]) -> None:
    """Refuses text that would not be read as text.

    A special token would end the user's turn or stand for an image that is not there.

    Raises:
        PromptError: The texts are too long or hold a special token, a NUL or half a surrogate pair.
    """
    if (length := sum(map(len, texts))) > MAX_CHARACTERS:
        raise PromptError(f"{length} characters of text; at most {MAX_CHARACTERS} are read")
    for text in texts:
        for token in special_tokens:
            if token in text:
                raise PromptError(f"the text holds the special token {token!r}")
        if "\0" in text:
            raise PromptError(f"the text holds a NUL, at character {text.index(chr(0))}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"the text holds a lone surrogate, at character {error.start}"
            ) from error
