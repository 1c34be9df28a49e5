"""Reading and rendering the chat template of a model directory."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateSyntaxError

from perl_jax.legible import field_name
from perl_jax.processing.files import read_json, read_optional_json

THOUGHT = "<think>"
"""The mark that opens a thought."""

# A conversation takes a millisecond. A template is a program of whoever made the model, and the
# sandbox that it runs in bounds a loop, but not loops within loops.
_MAX_SECONDS = 20.0
# The file that Jinja says a template's code is in.
_TEMPLATE = "<template>"


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and its file."""

    text: str
    source: Path

    def render(self, tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
        """Renders messages; opens the assistant's turn unless its message is the last.

        Raises:
            ValueError: The template fails on these messages, or does not end.
        """
        return self._rendered(tokenizer, messages, messages[-1]["role"] != "assistant")

    def opening(self, tokenizer: Any) -> str:
        """What the template writes for the model before its response, from ``<think>`` on.

        Templates of reasoning models open the thought themselves, so a response lacks it. The
        result is empty for any other template.
        """
        messages = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        try:
            asked = self._rendered(tokenizer, messages, False)
            opened = self._rendered(tokenizer, messages, True)
        except ValueError:
            # It is told when a prompt is rendered.
            return ""
        added = opened.removeprefix(asked) if opened.startswith(asked) else opened
        return added[added.find(THOUGHT) :] if THOUGHT in added else ""

    def check_images(self, tokenizer: Any, image_text: str) -> None:
        """Refuses a template that does not show an image as ``image_text``.

        Raises:
            ValueError: The template fails on images, or drops them.
        """
        parts = [{"type": "image"}, {"type": "text", "text": "?"}]
        shown = self._rendered(tokenizer, [{"role": "user", "content": parts}], True)
        if (count := shown.count(image_text)) != 1:
            raise ValueError(
                f"{self.source}: the chat template cannot take images: it gives {count} image "
                f"tokens {image_text!r} for one image; use the template of a vision-language model"
            )

    def _rendered(self, tokenizer: Any, messages: Sequence[dict[str, Any]], opened: bool) -> str:
        try:
            with _deadline(_MAX_SECONDS):
                return tokenizer.apply_chat_template(
                    list(messages),
                    chat_template=self.text,
                    add_generation_prompt=opened,
                    tokenize=False,
                )
        # A template is a program: whatever it raises is an error in its file.
        except Exception as error:
            images = any(not isinstance(message["content"], str) for message in messages)
            what = "cannot take images: it fails on them" if images else "fails"
            raise ValueError(
                f"{self.source}: the chat template {what}: {type(error).__name__}: "
                f"{field_name(error)}"
            ) from error


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in this thread's Python code if the block takes longer.

    Signals would reach the main thread only, and prompts are rendered in others too.
    """
    ends, before = time.monotonic() + seconds, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > ends:
            raise TimeoutError(f"it did not end within {seconds:g} s")
        return trace if frame.f_code.co_filename == _TEMPLATE else None

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def read_chat_template(directory: Path) -> ChatTemplate:
    """Reads the chat template that the directory's processor uses.

    Places, in order: ``chat_template.json``, ``chat_template.jinja``, the field ``chat_template``
    of ``processor_config.json`` and of ``tokenizer_config.json``.

    Raises:
        ValueError: There is no template, it is not text or not Jinja, or it raises to powers.
    """
    if (legacy := directory / "chat_template.json").is_file():
        text = _text(read_json(legacy).get("chat_template"), legacy)
        if text is None:
            raise ValueError(f"{legacy}: the field chat_template is missing")
        return _checked(text, legacy)
    if (raw := directory / "chat_template.jinja").is_file():
        try:
            return _checked(raw.read_text(encoding="utf-8"), raw)
        except UnicodeDecodeError as error:
            raise ValueError(f"{raw}: expected text in UTF-8: {error}") from error
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = directory / name
        text = _text(read_optional_json(path).get("chat_template"), path)
        if text is not None:
            return _checked(text, path)
    raise ValueError(
        f"{directory}: no chat template: expected chat_template.json, chat_template.jinja or the "
        "field chat_template in processor_config.json or tokenizer_config.json"
    )


def _checked(text: str, source: Path) -> ChatTemplate:
    """Refuses powers: one of them may take hours in a single operation, which nothing can end."""
    before = ""
    try:
        for _, kind, token in Environment().lex(text):
            # Behind a bracket or a comma, ** stands for arguments by name.
            if kind == "operator" and token == "**" and before not in ("(", ","):
                raise ValueError(f"{source}: the chat template raises to powers (**)")
            before = before if kind == "whitespace" else token
    except TemplateSyntaxError as error:
        raise ValueError(
            f"{source}: expected a chat template in Jinja: line {error.lineno}: {error.message}"
        ) from error
    return ChatTemplate(text, source)


def _text(value: Any, path: Path) -> str | None:
    if isinstance(value, list):  # several named templates; "default" is the plain chat
        named = [item for item in value if isinstance(item, dict)]
        texts = [item.get("template") for item in named if item.get("name") == "default"]
        value = texts[0] if texts else None
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: chat_template: expected text, got {type(value).__name__}")
    return value
