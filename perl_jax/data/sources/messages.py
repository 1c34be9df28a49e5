"""Reads the messages of a row: the turns before the question, and images that stand in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.legible import field_name
from perl_jax.processing import find_slots
from perl_jax.types import Turn

_TEXT_TYPES = ("text", "input_text")
_IMAGE_TYPES = ("image", "image_url", "input_image")
# The keys under which a part of a message holds its image.
_IMAGE_KEYS = ("image", "image_url", "url", "path", "bytes", "base64")
_VIDEO_KEYS = ("video", "video_url")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Asked:
    """What a row asks.

    Attributes:
        question: The text of the last message, with an ``<image>`` where it shows an image.
        turns: The messages before it.
        images: For each placeholder, in reading order, the image that stands in the message; None
            for the next image of the row's columns.
    """

    question: str
    turns: tuple[Turn, ...] = ()
    images: tuple[Any, ...] = ()


def read_question(value: Any, column: str, name: str) -> Asked:
    """Reads a text, the parts of one message, or messages of which the last one asks.

    A message has a ``role`` and a ``content``: a text, or a list of parts. A part is a text, or
    ``{"type": "text", "text": ...}``; or ``{"type": "image"}``, which shows the next image of the
    row's columns; or it holds its image under ``image``, ``image_url``, ``url``, ``path``,
    ``bytes`` or ``base64``. Keys that hold None count as absent.

    Raises `BadRow`: ``empty_prompt``, ``bad_prompt`` or ``video``.
    """
    read = [_read_message(role, content, name) for role, content in _messages(value, column, name)]
    turns = [Turn(role, text) for role, text, _ in read]
    if not turns[-1].text.strip():
        raise BadRow("empty_prompt", name, "the question is empty")
    images = tuple(image for _, _, shown in read for image in shown)
    texts = [turn.text for turn in turns if turn.role != "assistant"]
    numbered = any(slot.number is not None for text in texts for slot in find_slots(text))
    if numbered and any(image is not None for image in images):
        what = "numbered placeholders beside images that stand in the messages; write <image>"
        raise BadRow("bad_prompt", name, f"{column}: got {what}")
    return Asked(turns[-1].text, tuple(turns[:-1]), images)


def _messages(value: Any, column: str, name: str) -> list[tuple[str, Any]]:
    """The roles and contents of a row's messages."""
    if value is None:
        raise BadRow("empty_prompt", name, "there is no text and no message")
    if isinstance(value, str):
        return [("user", value)]
    if not isinstance(value, list):
        got = f"{type(value).__name__} {str(value)[:50]!r}"
        raise BadRow("bad_prompt", name, f"{column}: expected text or messages; got {got}")
    if not value:
        raise BadRow("empty_prompt", name, "there is no message")
    keys = {key for item in value if isinstance(item, Mapping) for key in item}
    if keys and "role" not in keys:
        return [("user", value)]  # the parts of one message
    messages = [item if isinstance(item, Mapping) else {} for item in value]
    _check_roles([message.get("role") for message in messages], column, name)
    return [(message["role"], message.get("content")) for message in messages]


def _check_roles(roles: Sequence[Any], column: str, name: str) -> None:
    got = ", ".join(str(role)[:30] for role in roles[:9])
    if any(role not in _ROLES for role in roles):
        expected = f"expected messages of {', '.join(_ROLES)}"
        hint = "leave out the others, or give their text to one of these"
    elif "system" in roles[1:]:
        expected = "expected the system's message first, and only one"
        hint = "move its text into the first one"
    elif roles[-1] != "user":
        expected = "expected the user's question as the last message"
        hint = "leave out what follows it; the right answer has a column of its own"
    else:
        return
    raise BadRow("bad_prompt", name, f"{column}: {expected}; got {got} ({hint})")


def _read_message(role: str, content: Any, name: str) -> tuple[str, str, list[Any]]:
    """A message's role, its text with placeholders, and the images for these."""
    if content is None:
        raise BadRow("empty_prompt", name, f"a message of the {role} is empty")
    if not isinstance(content, str | list):
        got = f"{type(content).__name__} {str(content)[:50]!r}"
        expected = f"a message of the {role}: expected text, or a list of parts"
        raise BadRow("bad_prompt", name, f"{expected}; got {got}")
    items = [content] if isinstance(content, str) else content
    parts = [_read_part(item, name) for item in items]
    texts = [part for part in parts if isinstance(part, str)]
    if any("<video>" in text for text in texts):
        raise BadRow("video", name, "the question shows a <video>; only images are read")
    slots = [slot for text in texts for slot in find_slots(text)]
    if slots and len(texts) < len(parts):
        hint = f"leave {slots[0].text} out of its text, as its parts show the images"
        raise BadRow("bad_prompt", name, f"a message shows images twice ({hint})")
    if role == "assistant" and (slots or len(texts) < len(parts)):
        hint = "only messages of the user and the system may"
        raise BadRow("bad_prompt", name, f"a message of the assistant shows an image ({hint})")
    shown = [None] * len(slots) or [part.image for part in parts if isinstance(part, _Shown)]
    return role, "".join("<image>" if isinstance(p, _Shown) else p for p in parts), shown


@dataclass(frozen=True)
class _Shown:
    """A part that shows an image; None: the next one of the row's columns."""

    image: Any


def _read_part(part: Any, name: str) -> str | _Shown:
    if isinstance(part, str):
        return part
    # Arrow gives every part all fields, and None where one has none.
    fields = dict(part) if isinstance(part, Mapping) else {}
    fields = {key: value for key, value in fields.items() if value is not None}
    kind, text = fields.get("type"), fields.get("text", "")
    if kind in _VIDEO_KEYS or (kind is None and any(key in fields for key in _VIDEO_KEYS)):
        raise BadRow("video", name, "a message shows a video; only images are read")
    holds = any(key in fields for key in _IMAGE_KEYS)
    if kind in _IMAGE_TYPES or (kind is None and holds):
        if text:
            raise BadRow("bad_prompt", name, "a part holds text and an image; make it two parts")
        return _Shown(_image_of(fields) if holds else None)
    if isinstance(text, str) and "text" in fields and kind in (None, *_TEXT_TYPES):
        return text
    expected = "expected {'type': 'text', 'text': ...} or {'type': 'image'}"
    names = ", ".join(sorted(field_name(name)[:30] for name in fields)[:9])
    got = f"type {kind!r:.50} with {names}" if fields else repr(part)[:50]
    raise BadRow("bad_prompt", name, f"a part of a message: {expected}; got {got}")


def _image_of(fields: Mapping[str, Any]) -> Any:
    if "image" not in fields and ("bytes" in fields or "path" in fields):
        return {"bytes": fields.get("bytes"), "path": fields.get("path")}
    value = next(fields[key] for key in _IMAGE_KEYS if key in fields)
    if isinstance(value, Mapping) and value.get("url") is not None:
        value = value["url"]
    is_bare = "base64" in fields and value == fields["base64"] and isinstance(value, str)
    return f"data:;base64,{value}" if is_bare and not value.startswith("data:") else value
