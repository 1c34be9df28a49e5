"""Reading and rendering the chat template of a model directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perl_jax.processing.files import read_json, read_optional_json


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and its file."""

    text: str
    source: Path

    def render(self, tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
        """Renders messages; opens the assistant's turn unless its message is the last.

        Raises:
            ValueError: The template fails on these messages.
        """
        try:
            return tokenizer.apply_chat_template(
                list(messages),
                chat_template=self.text,
                add_generation_prompt=messages[-1]["role"] != "assistant",
                tokenize=False,
            )
        # A template is a program: on parts that it does not know it may raise anything.
        except Exception as error:
            shows_images = any(isinstance(message["content"], list) for message in messages)
            why = "; it cannot take images" if shows_images else ""
            cause = f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.source}: the chat template fails{why}: {cause}") from error


def read_chat_template(directory: Path) -> ChatTemplate:
    """Reads the chat template that the directory's processor uses.

    Places, in order: ``chat_template.json``, ``chat_template.jinja``, the field ``chat_template``
    of ``processor_config.json`` and of ``tokenizer_config.json``.

    Raises:
        ValueError: There is no template, or it is not text.
    """
    if (legacy := directory / "chat_template.json").is_file():
        text = _text(read_json(legacy).get("chat_template"), legacy)
        if text is None:
            raise ValueError(f"{legacy}: the field chat_template is missing")
        return ChatTemplate(text, legacy)
    if (raw := directory / "chat_template.jinja").is_file():
        return ChatTemplate(raw.read_text(encoding="utf-8"), raw)
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = directory / name
        text = _text(read_optional_json(path).get("chat_template"), path)
        if text is not None:
            return ChatTemplate(text, path)
    raise ValueError(
        f"{directory}: no chat template: expected chat_template.json, chat_template.jinja or the "
        "field chat_template in processor_config.json or tokenizer_config.json"
    )


def _text(value: Any, path: Path) -> str | None:
    if isinstance(value, list):  # several named templates; "default" is the plain chat
        value = {item.get("name"): item.get("template") for item in value}.get("default")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: chat_template: expected text, got {type(value).__name__}")
    return value
