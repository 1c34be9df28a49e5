"""NLVR2: is a statement true of two photographs, which are shown side by side?

The published files are JSON lines with the images beside them, or in a folder of the split's name.
Parquet files may hold the images themselves, in ``left_image`` and ``right_image`` or ``images``.

The benchmark has no prompt for language models; the question is that of the rows of
Mantis-Instruct that policies are trained on. A response that gives no letter is read for the words
"true" and "false", of which only one may stand. Defect avoided: "not true" is false.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored, ScoredRows
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.letters import undressed
from perl_jax.evaluation.sets.responses import final
from perl_jax.legible import brief
from perl_jax.types import Example

SOURCE = "NLVR2"
QUESTION = """\
Answer the following multiple-choice question:
Given these 2 images, <image> and <image>. Here is a statement describing them: {} \
Is it true or false?
Options:"""
_OPTIONS = ("(A) True", "(B) False")
_LETTERS = {"true": "A", "false": "B"}
_PARTS = 4  # split-set-pair-sentence
_COLUMNS = Columns(
    text=("sentence", "identifier"),
    other=("label",),
    optional=("left_image", "right_image", "images", "left_url", "right_url"),
)
_TRUTH = re.compile(
    r"(?P<not>\b(?:not|n't|isn't|neither|nor)\s+(?:\w+\s+)?)?\b(?P<value>true|false)\b"
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    id, sentence = row.id("identifier"), row.text("sentence").strip()
    if len(id.split("-")) != _PARTS:
        raise row.bad("bad_identifier", f"expected split-set-pair-sentence; got {brief(id)}")
    label = row.get("label")
    if label is None or label == "":
        raise row.bad("hidden_answer", "the label is not published")
    answer = _LETTERS.get(str(label).strip().lower())
    if answer is None:
        raise row.bad("bad_answer", f"label: expected True or False; got {str(label)[:50]!r}")
    if mc.IMAGE in sentence:
        raise row.bad("image_count", "the sentence holds an image placeholder")
    return Example(
        id=id,
        source=SOURCE,
        question=QUESTION.replace("{}", sentence),
        images=_images(row, id),
        answer=answer,
        options=_OPTIONS,
        metadata={"letters": "AB"},
        place=row.name,
    )


def _images(row: PublishedRow, id: str) -> tuple[bytes, ...]:
    held = row.get("images") or [row.get("left_image"), row.get("right_image")]
    if isinstance(held, list) and any(image is not None for image in held):
        if len(held) != 2:
            raise row.bad("image_count", f"expected two images; got {len(held)}")
        return tuple(row.image(image) for image in held)
    pair, split = id.rpartition("-")[0], id.partition("-")[0]
    return tuple(_beside(row, f"{pair}-img{side}.png", split) for side in (0, 1))


def _beside(row: PublishedRow, name: str, split: str) -> bytes:
    """An image in the folder of its row's file, or in a folder of the split's name there."""
    places = [str(row.folder / name), str(row.folder / split / name), name, f"{split}/{name}"]
    for place in places:
        try:
            return row.image(place)
        except BadRow as error:
            if error.reason != "missing_image":
                raise
    raise row.bad("missing_image", f"expected {places[0]} or {places[1]}; there is none")


def official(example: Example) -> str:
    """The question of the training rows."""
    return "\n".join((example.question, *example.options))


def score(example: Example, response: str) -> Scored:
    """The letter that is chosen, else the truth value that is said."""
    text = final(response)
    return mc.scored(mc.chosen(example, text) or _said(text), example.answer)


def _said(text: str) -> str | None:
    """The letter of the one truth value that a text states."""
    values = set()
    for found in _TRUTH.finditer(undressed(text).lower()):
        holds = (found["value"] == "true") != (found["not"] is not None)
        values.add("A" if holds else "B")
    return values.pop() if len(values) == 1 else None


def consistency(rows: ScoredRows) -> Mapping[str, float]:
    """The official consistency, and that of pairs.

    ``consistency`` is the part of the sentences that are answered correctly for all their pairs of
    images; ``pair_consistency`` that of the pairs for which all their sentences are.
    """
    return {
        "consistency": _all_right(rows, 2),
        "pair_consistency": _all_right(rows, 3),
    }


def _all_right(rows: ScoredRows, without: int) -> float:
    """The part of the groups, by all parts of the identifier but one, with only right answers."""
    groups: dict[tuple[str, ...], bool] = {}
    for example, score in rows:
        parts = example.id.split("-")
        key = (*parts[:without], *parts[without + 1 :])
        groups[key] = groups.get(key, True) and score == 1.0
    return sum(groups.values()) / len(groups) if groups else float("nan")


BENCHMARK = Benchmark(
    name="nlvr2",
    source=SOURCE,
    homepage="https://github.com/lil-lab/nlvr",
    read=read,
    official=official,
    score=score,
    more=consistency,
)
