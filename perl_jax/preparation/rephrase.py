"""Rephrases open-ended questions, with an endpoint, so that a rule can verify their answers."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.endpoint import Refused
from perl_jax.legible import brief
from perl_jax.preparation.answers import answer_kind
from perl_jax.preparation.questions import Ask, ask_rows, asking_depends
from perl_jax.preparation.stage import Context, DroppedRow, KeptRow, Outcome, dropped
from perl_jax.processing import find_slots
from perl_jax.settings import Checked, Expects
from perl_jax.types import Example, prompt_text

_LETTERS = "ABCDEFGHIJ"
_STALE = ("response", "change_needed")  # of the original question


@dataclass(frozen=True)
class RephraseConfig(Checked):
    """How open-ended questions are rephrased.

    Attributes:
        prompt: The text file of the prompt (see `load_prompt`); None: the package's.
        unusable: ``drop`` or ``keep`` rows for which the endpoint gives no usable rephrasing.
    """

    prompt: str | None = None
    unusable: Annotated[Literal["drop", "keep"], Expects("drop or keep")] = "drop"


def rephrase_rows(source: Source, config: RephraseConfig, context: Context) -> Iterator[Outcome]:
    """Passes on objective rows, and rephrases the others.

    The endpoint writes the right answer and, if it is too long to verify, wrong ones. The order of
    choices is drawn here, as models prefer some letters. The original question goes into the
    metadata as ``rephrased_from``.

    Kept rows are ``objective`` or ``rephrased``. Others are dropped (or kept, with ``unusable``) as
    ``malformed`` (not what the prompt asks for), ``not_rephrasable`` (says the endpoint),
    ``refused`` (no answer) or ``several_turns`` (the question is part of a conversation).
    """

    def rephrase(row: Example, ask: Ask) -> Outcome:
        try:
            kind = answer_kind(row.answer)
        except (TypeError, ValueError) as error:
            return Skipped.of(BadRow.of(row, "bad_answer", str(error)))
        if kind != "open":
            return KeptRow(row, "objective")
        outcome = _rephrased(row, ask, context.seed)
        if isinstance(outcome, DroppedRow) and config.unusable == "keep":
            return KeptRow(row, outcome.reason)
        return outcome

    return ask_rows(source, context, "rephrase", config.prompt, rephrase)


def rephrasing_depends(config: RephraseConfig, context: Context) -> Any:
    """The dependencies of the endpoint's answers; see `Stage`."""
    return asking_depends(context, "rephrase", config.prompt)


def _rephrased(row: Example, ask: Ask, seed: int) -> KeptRow | DroppedRow:
    if any(turn.role != "system" for turn in row.turns):
        return dropped(row, "several_turns", "only questions that stand alone are rephrased")
    try:
        answer = ask()
        if "skip" in answer:
            return dropped(row, "not_rephrasable", str(answer["skip"])[:200])
        return KeptRow(_read(row, answer, seed), "rephrased")
    except Refused as error:
        return dropped(row, "refused", str(error))
    except ValueError as error:
        return dropped(row, "malformed", str(error))


def _read(row: Example, answer: dict[str, Any], seed: int) -> Example:
    """The row that an answer describes; ValueError if it describes none."""
    question = _text(answer, "question").strip()
    right = _line(_text(answer, "answer"))
    distractors = answer.get("distractors", [])
    if not isinstance(distractors, list) or not all(isinstance(one, str) for one in distractors):
        raise ValueError(f"distractors: expected a list of texts; got {brief(distractors)}")
    choices = [right, *map(_line, distractors)]
    if find_slots(question) != find_slots(prompt_text(row)):
        raise ValueError("question: expected the image placeholders of the row, in their order")
    if any(find_slots(choice) for choice in choices):
        raise ValueError("a choice shows an image")
    options: tuple[str, ...] = ()
    if len(choices) > 1:
        options, right = _lettered(choices, random.Random(f"rephrase {seed} {row.id}"))
    elif answer_kind(right) == "open":
        raise ValueError(f"answer: expected a short one, or distractors; got {brief(right)}")
    metadata = {name: value for name, value in row.metadata.items() if name not in _STALE}
    before = {"question": row.question, "options": list(row.options), "answer": row.answer}
    metadata["rephrased_from"] = before
    return replace(row, question=question, options=options, answer=right, metadata=metadata)


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected text; got {brief(value)}")
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _line(text: str) -> str:
    return " ".join(text.split())


def _lettered(choices: list[str], rng: random.Random) -> tuple[tuple[str, ...], str]:
    """The choices lettered in random order, and the letter of the first one."""
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
