r"""MV-MATH: school mathematics over several pictures (https://arxiv.org/abs/2502.20808).

A question is a choice, a free answer in a single step, or has several steps, "(1) ... (2) ...".
The authors let a language model say whether an answer is right, or how many steps of how many. Here
rules come first: the letter of a choice, another letter being wrong; a free answer, or every step,
that equals the truth as text. The model decides all else. A response that says nothing is wrong.

The score of a question with steps is the share of right ones. The overall score counts it only if
all are right; the authors' merging script reads a field that their scoring never writes, and counts
none. The step accuracy rate (SAR) is over all steps, the question completeness rate (QCR) over
questions.

Of the published files, ``MV-MATH.json`` has all rows, and others a part of them: give its path,
with the pictures beside it, in a folder ``images``, or in an archive.

Pictures come first in the prompt, and ``[image 1]`` stands in the text where the first one belongs:
the published ``<image_1>`` would show it again. The two worked examples are ours.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Ask, Benchmark, Scored, ScoredRows
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.labels import chosen
from perl_jax.evaluation.sets.letters import choices
from perl_jax.evaluation.sets.mv_math_prompts import JUDGE_ANSWER, JUDGE_STEPS, prompt_of
from perl_jax.evaluation.sets.replies import plain_reply, verdict_of
from perl_jax.evaluation.sets.responses import boxed, final, said
from perl_jax.evaluation.sets.statements import same_text, stated
from perl_jax.evaluation.sets.tags import check_tags, numbers_of, replace_tags
from perl_jax.legible import brief
from perl_jax.types import Example

SOURCE = "PeijieWang/MV-MATH"
_KINDS = ("choice", "single-step", "multi-step")
_COLUMNS = Columns(
    text=("question", "answer", "answer_type"),
    other=("problem_id", "input_image"),
    optional=("subject", "difficulty", "grade", "image_relavance"),
)
_LETTERS = "ABCD"
_SEVERAL = re.compile(r"[A-H](?:[\s,;\u3001]*(?:and\s+)?[A-H])+")
# The number of a step; in "f(2)" and "(2, 0)" there is none.
_STEP = re.compile(r"(?<![\w)\\^_}])[(\uff08]\s*(\d)\s*[)\uff09]")
_AROUND = " \n\t;\uff1b,\uff0c.\u3002\u3001#"
_LONGEST = 200


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    kind, question = row.text("answer_type"), row.text("question").strip("# \n")
    if kind not in _KINDS:
        raise row.bad("bad_answer_type", f"expected one of {', '.join(_KINDS)}; got {brief(kind)}")
    names = row.get("input_image")
    if not isinstance(names, list) or not names:
        raise row.bad("missing_image", f"input_image: expected a list; got {str(names)[:50]!r}")
    check_tags(row, question, len(names), complete=False)
    untagged = sorted(set(range(1, len(names) + 1)) - set(numbers_of(question)))
    columns = ("difficulty", "grade", "image_relavance")
    known = {"task": row.get("subject")} | {name: row.get(name) for name in columns}
    return Example(
        id=row.id("problem_id"),
        source=SOURCE,
        question="".join(f"<image_{number}>\n" for number in untagged) + question,
        images=tuple(_image(row, name) for name in names),
        answer=row.text("answer").strip(),
        metadata={
            "answer_type": kind,
            **{name: value for name, value in known.items() if value is not None},
        },
        place=row.name,
    )


def _image(row: PublishedRow, image: Any) -> bytes:
    """The picture of that name: beside the file or in its folder ``images``, as published."""
    name = image.get("path") if isinstance(image, Mapping) else image
    if not isinstance(name, str) or (isinstance(image, Mapping) and image.get("bytes")):
        return row.image(image)
    folders = dict.fromkeys((row.folder, row.folder / "images", row.folder.parent / "images"))
    for place in (name, *(str(folder / name) for folder in folders)):
        try:
            return row.image(place)
        except BadRow as error:
            if error.reason != "missing_image":
                raise
    return row.image(name)


def official(example: Example) -> str:
    """The pictures, two worked examples and the question."""
    question = replace_tags(example.question, lambda number: f"[image {number}]")
    shown = "<image>" * len(example.images)
    return f"{shown}\n{prompt_of(example.metadata['answer_type'], question)}"


def score(example: Example, response: str) -> Scored:
    """By rules: a choice by its letter or words, answers that equal the truth as text."""
    if not final(response):
        return Scored(None, 0.0)
    box, text = boxed(response), said(response)
    if example.metadata["answer_type"] == "multi-step":
        return _steps(example, (stated(text), text) if box is None else (box,))
    truth = _letters(example.answer)
    answers = (stated(text), text) if box is None else (box,)
    if example.metadata["answer_type"] == "single-step" or not truth:
        return _free(example, [answer for answer in answers if answer])
    options = choices(example) or dict.fromkeys(_LETTERS, "")
    several = next(filter(None, (_letters(answer or "") for answer in answers)), None)
    letters = several or chosen(response, options)
    return Scored(letters, None if letters is None else float(letters == truth))


def _letters(text: str) -> str:
    """The letters that a text consists of, such as "AC" for "C, A"; empty if there is more."""
    text = text.strip()
    if not _SEVERAL.fullmatch(text) and not re.fullmatch("[A-H]", text):
        return ""
    return "".join(sorted(set(re.findall("[A-H]", text))))


def _free(example: Example, answers: Sequence[str]) -> Scored:
    is_right = any(same_text(answer, example.answer) for answer in answers)
    shown = next((answer for answer in answers if len(answer) <= _LONGEST), None)
    return Scored(example.answer if is_right else shown, 1.0 if is_right else None)


def _steps(example: Example, answers: Sequence[str | None]) -> Scored:
    truths = steps_of(example.answer)
    if any(_are_right(steps_of(answer), truths) for answer in answers if answer):
        return Scored(f"{len(truths)}/{len(truths)}", 1.0)
    return Scored(None, None)


def _are_right(steps: Sequence[str], truths: Sequence[str]) -> bool:
    """Whether each step, or what it says its answer is, is the text of the truth."""
    return len(steps) == len(truths) and all(
        same_text(step, true) or same_text(stated(step) or "", true)
        for step, true in zip(steps, truths, strict=True)
    )


def steps_of(text: str) -> list[str]:
    """The steps of an answer, by their numbers from (1) on, or else by ``##``; else all of it.

    A number out of turn belongs to its step: "(2) From (1), (1) 5 or (2) 7" is one.
    """
    starts: list[re.Match[str]] = []
    for mark in _STEP.finditer(text):
        if int(mark[1]) == len(starts) + 1:
            starts.append(mark)
    if not starts:
        return [part for one in text.split("##") if (part := one.strip(_AROUND))] or [text.strip()]
    ends = [mark.start() for mark in starts[1:]] + [len(text)]
    return [text[mark.end() : end].strip(_AROUND) for mark, end in zip(starts, ends, strict=True)]


def judge(example: Example, response: str, ask: Ask) -> Scored:
    """Asks whether the answer is right, or how many of the steps are."""
    known = {"question": example.question, "truth": example.answer, "said": said(response)}
    if example.metadata["answer_type"] != "multi-step":
        verdict = verdict_of(ask(JUDGE_ANSWER.format(**known)), "true", "false")
        return Scored(score(example, response).prediction, verdict)
    total = len(steps_of(example.answer))
    reply = plain_reply(ask(JUDGE_STEPS.format(total=total, **known))) or ""
    found = re.fullmatch(r"(\d{1,2})\s*/\s*(\d{1,2})", reply)
    if found is None or int(found[2]) != total or int(found[1]) > total:
        return Scored(None, None)
    return Scored(f"{int(found[1])}/{total}", int(found[1]) / total)


def _has_steps(example: Example) -> bool:
    return bool(example.metadata["answer_type"] == "multi-step")


def _overall(rows: ScoredRows) -> float:
    """The share of right answers; a question with steps is right if all of them are."""
    right = sum(score == 1.0 if _has_steps(example) else score for example, score in rows)
    return right / len(rows) if rows else float("nan")


def _more(rows: ScoredRows) -> Mapping[str, float]:
    found = {
        name: sum(scores) / len(scores)
        for name, kind in (("choice", "choice"), ("free_form", "single-step"))
        if (scores := [score for row, score in rows if row.metadata["answer_type"] == kind])
    }
    steps = [(len(steps_of(row.answer)), score) for row, score in rows if _has_steps(row)]
    if steps:
        found["SAR"] = sum(count * score for count, score in steps) / sum(n for n, _ in steps)
        found["QCR"] = sum(score == 1.0 for _, score in steps) / len(steps)
    return found


BENCHMARK = Benchmark(
    name="mv_math",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/PeijieWang/MV-MATH",
    read=read,
    official=official,
    score=score,
    judge=judge,
    overall=_overall,
    more=_more,
    paper={
        "Qwen2.5-VL-7B": 20.41,
        "PeRL": 25.68,
        "MM-Eureka-Qwen": 24.4,
        "NoisyRollout-K12": 25.0,
        "R1-Onevision-7B": 19.1,
    },
)
