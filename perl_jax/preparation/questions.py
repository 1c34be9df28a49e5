"""Prompts for the endpoint, from text files, and the JSON objects that it answers with."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from perl_jax.types import Example


def load_prompt(name: str, path: str | None) -> Template:
    """A prompt in which ``$question``, ``$options`` and ``$answer`` stand for those of a row.

    Args:
        name: Of the prompt that comes with this package.
        path: A file that takes its place; None: none does.

    Raises:
        ValueError: It has no ``$question``, or another name after a dollar sign; ``$$`` is a plain
            one.
        FileNotFoundError: There is no such file.
    """
    if path is None:
        file = resources.files("perl_jax.preparation") / "prompts" / f"{name}.txt"
        text = file.read_text(encoding="utf-8")
    else:
        text = Path(path).read_text(encoding="utf-8")
    template = Template(text)
    known = {"question", "options", "answer"}
    names = set(template.get_identifiers()) if template.is_valid() else set()
    if "question" not in names or names - known:
        raise ValueError(
            f"{path or name}: expected a prompt with $question, and perhaps $options and $answer; "
            f"got {', '.join(f'${name}' for name in sorted(names)) or 'none or a stray $'}"
        )
    return template


def fill(prompt: Template, example: Example) -> str:
    """The prompt for a row."""
    return prompt.substitute(
        question=example.question,
        options="\n".join(example.options) or "(none)",
        answer=example.answer,
    )


def digest(prompt: Template) -> str:
    """Changes with the text of the prompt."""
    return hashlib.sha256(prompt.template.encode()).hexdigest()


def read_object(answer: str) -> dict[str, Any]:
    """The JSON object in an answer, with whatever stands around it.

    Raises:
        ValueError: There is none.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        # Numbers that JSON does not know are refused: they could not be stored.
        value = json.loads(answer[start : end + 1], parse_constant=_refuse) if start >= 0 else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON object ({error}): {answer[:200]!r}") from error
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {answer[:200]!r}")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
