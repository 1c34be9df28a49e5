"""Rephrasing: an endpoint turns open-ended questions into ones whose answer a rule can verify."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from string import Template
from typing import Annotated, Any, Literal

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.endpoint import Endpoint, Refused
from perl_jax.preparation.answers import answer_kind
from perl_jax.preparation.questions import digest, fill, load_prompt, read_object
from perl_jax.preparation.stage import (
    Context,
    Dropped,
    Kept,
    Outcome,
    dropped,
    ordered_map,
    read_rows,
)
from perl_jax.processing import Slot, split_placeholders
from perl_jax.settings import Checked, Expects
from perl_jax.types import Example, prompt_text

_LETTERS = "ABCDEFGHIJ"
# What was said of the question as it was.
_STALE = ("response", "change_needed")


@dataclass(frozen=True)
class RephraseConfig(Checked):
    """How open-ended questions are rephrased.

    Attributes:
        prompt: A text file in place of the prompt that comes with this package, with ``$question``,
            ``$options`` and ``$answer``.
        unusable: ``drop`` or ``keep``: what becomes of a row whose rephrasing cannot be used, or
            whose answer the endpoint cannot make objective.
    """

    prompt: str | None = None
    unusable: Annotated[Literal["drop", "keep"], Expects("drop or keep")] = "drop"


def rephrase_rows(source: Source, config: RephraseConfig, context: Context) -> Iterator[Outcome]:
    """Lets objective rows pass, and rephrases the others.

    The endpoint writes the right answer and, where it is not short enough to be verified by itself,
    wrong ones: which letter is right is drawn here, as models prefer some letters. The question as
    it was goes into the metadata as ``rephrased_from``.

    Rows are kept as ``objective``, ``rephrased`` or, with ``unusable="keep"``, under the reason for
    which they would be dropped: ``malformed`` (the answer is not what the prompt asks for),
    ``not_rephrasable`` (the endpoint says so) or ``refused`` (it does not answer).
    """
    prompt = load_prompt("rephrase", config.prompt)
    with open_endpoint(context) as endpoint:

        def rephrase(row: Example | Skipped) -> Outcome:
            if isinstance(row, Skipped):
                return row
            try:
                kind = answer_kind(row.answer)
            except (TypeError, ValueError) as error:
                return Skipped("bad_answer", row.id, str(error))
            if kind != "open":
                return Kept(row, "objective")
            outcome = _rephrased(row, endpoint, prompt, context.seed)
            if isinstance(outcome, Dropped) and config.unusable == "keep":
                return Kept(row, outcome.reason)
            return outcome

        threads = endpoint.config.concurrency
        for _, outcome in ordered_map(rephrase, read_rows(source), threads):
            yield outcome


def open_endpoint(context: Context) -> Endpoint:
    """The endpoint that the configuration names.

    Raises:
        ValueError: It names none.
    """
    if context.endpoint is None:
        raise ValueError("endpoint: expected one, as a stage asks it; got none")
    return Endpoint(context.endpoint, context.cache / "endpoint")


def asked_of(context: Context) -> Any:
    """What the answers of the endpoint depend on, besides the prompts."""
    if context.endpoint is None:
        return None
    return {"model": context.endpoint.model, "parameters": dict(context.endpoint.parameters)}


def rephrasing_depends(config: RephraseConfig, context: Context) -> Any:
    """What the rephrasing depends on besides rows, configuration and seed."""
    return [digest(load_prompt("rephrase", config.prompt)), asked_of(context)]


def _rephrased(row: Example, endpoint: Endpoint, prompt: Template, seed: int) -> Kept | Dropped:
    try:
        answer = read_object(endpoint.ask(fill(prompt, row)))
        if "skip" in answer:
            return dropped(row, "not_rephrasable", str(answer["skip"])[:200])
        return Kept(_read(row, answer, seed), "rephrased")
    except Refused as error:
        return dropped(row, "refused", str(error))
    except ValueError as error:
        return dropped(row, "malformed", str(error))


def _read(row: Example, answer: dict[str, Any], seed: int) -> Example:
    """The row that an answer describes.

    Raises:
        ValueError: It does not describe one.
    """
    question = _text(answer, "question").strip()
    right = _line(_text(answer, "answer"))
    distractors = answer.get("distractors", [])
    if not isinstance(distractors, list) or not all(isinstance(one, str) for one in distractors):
        raise ValueError(f"distractors: expected a list of texts; got {distractors!r}")
    choices = [right, *map(_line, distractors)]
    if _slots(question) != _slots(prompt_text(row)):
        raise ValueError("question: expected the image placeholders of the row, in their order")
    if any(_slots(choice) for choice in choices):
        raise ValueError("a choice shows an image")
    options: tuple[str, ...] = ()
    if len(choices) > 1:
        options, right = _lettered(choices, random.Random(f"rephrase {seed} {row.id}"))
    elif answer_kind(right) == "open":
        raise ValueError(f"answer: expected a short one, or distractors; got {right!r}")
    metadata = {name: value for name, value in row.metadata.items() if name not in _STALE}
    metadata["rephrased_from"] = {
        "question": row.question,
        "options": list(row.options),
        "answer": row.answer,
    }
    return replace(row, question=question, options=options, answer=right, metadata=metadata)


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    # Numbers are what an answer often is.
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected text; got {value!r}")
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _slots(text: str) -> list[Slot]:
    return [piece for piece in split_placeholders(text) if isinstance(piece, Slot)]


def _lettered(choices: list[str], rng: random.Random) -> tuple[tuple[str, ...], str]:
    """The choices in an order that is drawn, lettered, and the letter of the first one."""
    if not 2 <= len(choices) <= len(_LETTERS):
        raise ValueError(f"expected 2 to {len(_LETTERS)} choices; got {len(choices)}")
    folded = [choice.casefold().rstrip(".") for choice in choices]
    if "" in folded or len(set(folded)) != len(folded):
        raise ValueError(f"expected choices that differ and say something; got {choices}")
    places = list(range(len(choices)))
    rng.shuffle(places)
    options = tuple(
        f"({letter}) {choices[place]}" for letter, place in zip(_LETTERS, places, strict=False)
    )
    return options, _LETTERS[places.index(0)]
