r"""MathVision, MATH-V: competition mathematics with pictures (https://arxiv.org/abs/2402.14804).

Scores follow the authors' script. The answer is read from the last ``\boxed{}``, or else from what
stands after "the answer is", or else from a letter at the end; it is right if it is the letter or
the text of the right option, or for a free answer the same text, the same tuple or the same value
at 2 decimals (VLMEvalKit asks for 1e-6). Known defects of the script are avoided:

- A letter with the text of its option, "(B) 12", is glued to "b12" and wrong; here it is B.
- Units other than ``km`` and ``m^3``, and thousands with a comma, make a number wrong.
- Expressions are evaluated as Python; here numbers are only read.

The prompt is lmms-eval's. A row has one picture, into which the authors merged all pictures of its
question: the tags of the question stand for it together.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.labels import chosen
from perl_jax.evaluation.sets.letters import choices
from perl_jax.evaluation.sets.multiple_choice import LETTERS, answer_letter, labelled
from perl_jax.evaluation.sets.responses import boxed, said
from perl_jax.evaluation.sets.statements import same_text, stated
from perl_jax.evaluation.sets.tags import replace_tags
from perl_jax.evaluation.sets.values import value_of
from perl_jax.rewards.normalise import clean
from perl_jax.types import Example

SOURCE = "MathLLMs/MathVision"
_COLUMNS = Columns(
    text=("question", "answer"),
    other=("id", "options", "decoded_image"),
    optional=("subject", "level"),
)
_ASKED = 'Please solve the problem step by step and put your answer in one "\\boxed{}".'
_BRACKETS = {"(": ")", "[": "]"}
_DECIMALS = 2
_LONGEST = 200  # characters of a free answer; longer ones are no answers but reasoning


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    texts = [_without_tags(text) for text in row.texts("options")]
    # A picture as an option stands in the merged picture, beside its letter.
    words = [text or letter for letter, text in zip(LETTERS, texts, strict=False)]
    options = labelled(row, "options", words) if words else ()
    answer = row.text("answer")
    if options:
        answer = answer_letter(row, answer, LETTERS[: len(options)])
    metadata = {"task": row.get("subject"), "level": row.get("level")}
    return Example(
        id=row.id("id"),
        source=SOURCE,
        question=f"<image>{_without_tags(row.text('question'))}",
        images=(row.image(row.get("decoded_image")),),
        answer=answer,
        options=options,
        metadata={name: value for name, value in metadata.items() if value is not None},
        place=row.name,
    )


def _without_tags(text: str) -> str:
    return replace_tags(text, lambda _: "").strip()


def official(example: Example) -> str:
    """The prompt of lmms-eval."""
    question = example.question.removeprefix("<image>")
    text = f"<image>{_ASKED}{question}"
    if not example.options:
        return text
    listed = (f"{letter}. {words}" for letter, words in choices(example).items())
    return text + "\nChoices: " + "\n".join(listed)


def score(example: Example, response: str) -> Scored:
    """By the letter or the text of a choice, or as a text, a tuple or a value."""
    return _choice(example, response) if example.options else _free(example, response)


def _choice(example: Example, response: str) -> Scored:
    options = choices(example)
    letter = chosen(response, options) or _with_value(response, options)
    return Scored(letter, float(letter == example.answer))


def _with_value(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of the one option whose text has the value of the answer."""
    box = boxed(response)
    answer = stated(said(response)) if box is None else box
    if not answer:
        return None
    answer = _result(answer)
    equal = [letter for letter, text in options.items() if _is_equal(answer, _result(text))]
    return equal[0] if len(equal) == 1 else None


def _free(example: Example, response: str) -> Scored:
    box = boxed(response)
    answer = _result(_free_answer(said(response)) if box is None else box)
    if not answer or len(answer) > _LONGEST:
        return Scored(None, 0.0)
    return Scored(answer, float(_is_equal(answer, _result(example.answer))))


def _free_answer(text: str) -> str:
    """What a text says its answer is; the number after its last "is"; or else all of it."""
    last = text.rpartition("is ")[2].strip().removesuffix(".")
    return stated(text) or (last if value_of(last) is not None else text)


def _result(text: str) -> str:
    """What stands after the last equals sign: the result of a calculation."""
    return text.rpartition("=")[2].rpartition("\\approx")[2].strip().removesuffix(".")


def _is_equal(answer: str, truth: str) -> bool:
    """Whether two texts are the same, item by item if they are tuples."""
    items, true_items = _items(answer), _items(truth)
    if items and len(items) == len(true_items):
        return all(map(_is_same, items, true_items))
    return _is_same(answer, truth)


def _items(text: str) -> list[str]:
    """The opening bracket and the items of a tuple; none if the text is no tuple."""
    text = clean(text)
    if len(text) < 2 or _BRACKETS.get(text[0]) != text[-1] or "," not in text:
        return []
    return [text[0], *text[1:-1].split(",")]


def _is_same(answer: str, truth: str) -> bool:
    if same_text(answer.lower(), truth.lower()):
        return True
    value, true = value_of(answer), value_of(truth)
    if value is None or true is None:
        return False
    return round(value, _DECIMALS) == round(true, _DECIMALS)


BENCHMARK = Benchmark(
    name="mathvision",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/MathLLMs/MathVision",
    read=read,
    official=official,
    score=score,
    paper={"Qwen2.5-VL-7B": 25.07, "PeRL": 28.26},
)
