"""Asks the endpoint about rows, with prompts from text files and JSON objects as answers."""

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
"""Asks about a row; raises ValueError if the answer is no JSON object, or `Refused`."""


def ask_rows(
    source: Source,
    context: Context,
    name: str,
    path: str | None,
    decide: Callable[[Example, Ask], Outcome],
) -> Iterator[Outcome]:
    """Yields rows' outcomes; ``decide`` runs in threads and may ask with the `load_prompt` prompt.

    Raises:
        ValueError: There is no endpoint, or the prompt is wrong.
        OSError: The endpoint or the storage fails.
    """
    prompt = load_prompt(name, path)
    if context.endpoint is None:
        raise ValueError("endpoint: expected one, as a stage asks it; got none")
    with Endpoint(context.endpoint, context.cache / "endpoint") as endpoint:

        def decided(row: Example) -> Outcome:
            options = "\n".join(row.options) or "(none)"
            told = (f"{turn.role}: {turn.text}" for turn in row.turns)
            question = "\n".join((*told, row.question))
            text = prompt.substitute(question=question, options=options, answer=row.answer)
            return decide(row, lambda: read_object(endpoint.ask(text)))

        yield from map_rows(source, decided, endpoint.config.concurrency)


def asking_depends(context: Context, name: str, path: str | None) -> Any:
    """What answers depend on besides the rows: the prompt, the model and its parameters."""
    asked = context.endpoint
    who = asked and {"model": asked.model, "parameters": dict(asked.parameters)}
    return [hashlib.sha256(load_prompt(name, path).template.encode()).hexdigest(), who]


def load_prompt(name: str, path: str | None) -> Template:
    """Loads a prompt with ``$question`` and, if wanted, ``$options`` and ``$answer`` of a row.

    The text file ``path`` replaces this package's prompt ``name``. ``$$`` is a dollar sign.

    Raises:
        ValueError: ``$question`` is missing, or there is an unknown name after a dollar sign.
        FileNotFoundError: There is no such file.
    """
    packaged = resources.files("perl_jax.preparation") / "prompts" / f"{name}.txt"
    template = Template((Path(path) if path else packaged).read_text(encoding="utf-8"))
    known = {"question", "options", "answer"}
    names = set(template.get_identifiers()) if template.is_valid() else set()
    if "question" not in names or names - known:
        raise ValueError(
            f"{path or name}: expected a prompt with $question, and perhaps $options and $answer; "
            f"got {', '.join(f'${name}' for name in sorted(names)) or 'none or a stray $'}"
        )
    return template


def read_object(answer: str) -> dict[str, Any]:
    """Returns the JSON object within an answer's text; raises ValueError if there is none."""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        # NaN and infinities could not be stored.
        value = json.loads(answer[start : end + 1], parse_constant=_refuse) if start >= 0 else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON object ({error}): {answer[:200]!r}") from error
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: {answer[:200]!r}")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
