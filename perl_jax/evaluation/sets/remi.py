r"""ReMI: reasoning over several images in 13 tasks (https://arxiv.org/abs/2406.09175).

Scores follow the authors' script: the response is a JSON object, and its ``answer`` is compared
with the label by a rule of the task. Known defects of the script are avoided:

- A relative tolerance of a negative label accepts nothing; here it is taken of the magnitude.
- The labels that RefCoco accepts keep the spaces around their commas; here they are stripped.
- JSON that is no object, or holds an endless number, ends the script; here it is a wrong answer.
- Text after a tag that is repeated is dropped; here it is asked.

Of the published files, ``test.parquet`` is the benchmark, and ``train.parquet`` holds examples for
prompts: give the path of the first.

A response with a ``\boxed{}`` and without such an object answers with the contents of the box, so
that a policy can also be asked with the prompt that it was trained with.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored, mean_of_tasks
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.responses import boxed, said
from perl_jax.evaluation.sets.tags import check_tags, in_reading_order
from perl_jax.legible import brief
from perl_jax.types import Example

SOURCE = "mehrankazemi/ReMI"
_IMAGES = tuple(f"image_{number}" for number in range(1, 7))
_COLUMNS = Columns(text=("task", "question", "label"), optional=_IMAGES)

_NUMBER = "contains the numeric value corresponding to your final answer."
_STRING = "contains a string corresponding to your final answer."
_CLAUSES = {
    **dict.fromkeys(("Clocks", "EmojiAlgebra", "GeomShape", "GeomCost", "RefCoco"), _NUMBER),
    "Collisions": f"{_NUMBER} If it is a yes or no question, the answer field must be 0 for no and "
    "1 for yes.",
    **dict.fromkeys(("Schedule", "Maps"), _STRING),
    "IQ": "contains the a string corresponding to your final choice.",  # the authors' words
    "Charts": "contains a string or numerical value corresponding to your final answer.",
    "FuncRead": "contains a string or numeric value corresponding to your final answer.",
    "CodeEdit": "contains the line of code corresponding to your final answer.",
    "Isomorphism": "must be 1 if the two graphs are isomorphic and 0 otherwise.",
}
_FORM = (
    ' Output only a valid JSON string with two fields: "explanation" and "answer". Do not output '
    "anything else. The explanation field contains your reasoning. The answer field "
)
_BOX = re.compile(r"\$*boxed\{(.+)\}\$*", re.DOTALL)  # within JSON, where backslashes are dropped
_FUNCTION = re.compile(r"[fgh]\(x\)")
_MINUTES = 10.0
_GEOMETRY, _OTHER = 0.03, 0.01


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    task, question = row.text("task"), row.text("question")
    if task not in _CLAUSES:
        raise row.bad("bad_task", f"expected one of {', '.join(_CLAUSES)}; got {brief(task)}")
    images = [row.get(column) for column in _IMAGES]
    shown = tuple(row.image(image) for image in images if image is not None)
    check_tags(row, question, len(shown), complete=True)
    return Example(
        id=str(row.number),
        source=SOURCE,
        question=question,
        images=shown,
        answer=row.text("label"),
        metadata={"task": task},
        place=row.name,
    )


def official(example: Example) -> str:
    """The question with the authors' instructions for its task."""
    question = in_reading_order(example.question, len(example.images))
    return f"Question: {question}{_FORM}{_CLAUSES[example.metadata['task']]}"


def score(example: Example, response: str) -> Scored:
    """Compares the answer of the JSON object, or of the box, by the rule of the task."""
    answer = _answer(response)
    if answer is None:
        return Scored(None, 0.0)
    task, label = example.metadata["task"], _plain(example.answer)
    return Scored(answer, float(_is_right(task, _plain(answer), label)))


def _answer(response: str) -> str | None:
    """The answer of the JSON object, or else of the box; None if there is neither."""
    text, box = said(response), boxed(response)
    answer = _of_json(text)
    if answer is None and box:
        answer = _of_json(box) or box
    if answer is None:
        return None
    inner = _BOX.fullmatch(answer)
    answer = (inner[1] if inner else answer).strip()
    return answer if _plain(answer) else None


def _of_json(text: str) -> str | None:
    start, end = text.find("{"), text.rfind("}")
    # Escaped quotes and commands of LaTeX break JSON; the authors drop them.
    written = text[start : end + 1].replace('\\"', "").replace("\\", "")
    try:
        return str(json.loads(written)["answer"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _plain(text: str) -> str:
    return text.lower().replace("\\", "").split("%")[0].strip()


def _is_right(task: str, answer: str, label: str) -> bool:
    if task == "RefCoco":
        return answer in [one.strip() for one in label.split(",")]
    if task in ("GeomShape", "GeomCost"):
        return _is_near(answer, label, _GEOMETRY)
    if task == "Clocks":
        return abs(_number(answer) - _number(label)) <= _MINUTES
    return _is_same(answer, label) or _is_near(answer, label, _OTHER)


def _is_same(answer: str, label: str) -> bool:
    if answer == label or _number(answer) == _number(label):
        return True
    for one, other in ((answer, label), (label, answer)):
        is_function = _FUNCTION.fullmatch(one) is not None and one[0] == other
        if is_function or one == f"({other})" or one.replace(" ", "") == other:
            return True
    return False


def _is_near(answer: str, label: str, share: float) -> bool:
    true = _number(label)
    low, high = sorted(((1 - share) * true, (1 + share) * true))
    return low <= _number(answer) <= high


def _number(text: str) -> float:
    """The number that a text is; NaN, which equals nothing, for every other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


BENCHMARK = Benchmark(
    name="remi",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/mehrankazemi/ReMI",
    read=read,
    official=official,
    score=score,
    overall=mean_of_tasks,
    paper={
        "Qwen2.5-VL-7B": 36.38,
        "PeRL": 43.38,
        "MM-Eureka-Qwen": 43.3,
        "NoisyRollout-K12": 41.3,
        "R1-Onevision-7B": 37.0,
    },
)
