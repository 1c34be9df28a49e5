"""Asking the endpoint about rows: prompts from text files, and JSON objects as its answers."""

import hashlib
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from perl_jax.data.sources.source import Source
from perl_jax.endpoint import Endpoint
from perl_jax.preparation.stage import Context, Outcome, map_rows
from perl_jax.types import Example

Ask = Callable[[], dict[str, Any]]
"""Asks about a row; raises ValueError where the answer is no JSON object, `Refused` where there is
none."""


def ask_rows(
    source: Source,
    context: Context,
    name: str,
    path: str | None,
    decide: Callable[[Example, Ask], Outcome],
) -> Iterator[Outcome]:
    """Yields the outcome of rows, some of which the endpoint is asked about.

    Args:
        source: The rows.
        context: Has the endpoint.
        name: Of the prompt, as is ``path``; see `load_prompt`.
        path: As above.
        decide: Given a row, and a function that asks about it. Runs in threads.

    Raises:
        ValueError: No endpoint is named, or the prompt is not what it should be.
        OSError: The endpoint, or the storage, fails.
    """
    prompt = load_prompt(name, path)
    if context.endpoint is None:
        raise ValueError("endpoint: expected one, as a stage asks it; got none")
    with Endpoint(context.endpoint, context.cache / "endpoint") as endpoint:

        def decided(row: Example) -> Outcome:
            return decide(row, lambda: read_object(endpoint.ask(fill(prompt, row))))

        yield from map_rows(source, decided, endpoint.config.concurrency)


def asking_depends(context: Context, name: str, path: str | None) -> Any:
    """What answers depend on besides the rows: the prompt, and who is asked with what."""
    asked = context.endpoint
    who = asked and {"model": asked.model, "parameters": dict(asked.parameters)}
    return [hashlib.sha256(load_prompt(name, path).template.encode()).hexdigest(), who]


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
    options = "\n".join(example.options) or "(none)"
    return prompt.substitute(question=example.question, options=options, answer=example.answer)


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
