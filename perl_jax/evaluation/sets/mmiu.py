"""MMIU: 52 tasks on 2 to 32 images.

The rows are published as ``all.parquet``, or as JSON in which ``input`` and ``output`` are nested.
The images are in seven zip files beside it. They may stay packed, be unpacked into a folder of the
zip file's name each, as the paths of the rows have it, or all into one folder.

The official rule strips punctuation and takes a single letter from A to N, and asks a judge for
everything else. Ours reads the letter that a careful person reads before it asks. The official
comparison, whether the choice is contained in the truth, makes an empty choice right; ours is
equality. Some rows have a truth that is not among their options: their letter counts, as it does
officially.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Ask, Benchmark, Scored, mean_of_tasks
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.letters import choices, whole_letter
from perl_jax.evaluation.sets.responses import final
from perl_jax.rewards.words import words
from perl_jax.types import Example

SOURCE = "MMIU"
SUFFIX = "\nPlease answer the option directly like A,B,C,D..."
_SINGLE_LETTERS = mc.LETTERS[:14]
_QUESTION_FIRST = words(
    """
    person_reid multiple_image_captioning spot_the_similarity face_retrieval
    sketch2image_retrieval handwritten_retrieval spot_the_diff image2image_retrieval
    vehicle_retrieval text2image_retrieval general_action_recognition video_captioning
    next_img_prediction temporal_ordering meme_vedio_understanding action_quality_assessment
    temporal_localization mevis ravens_progressive_matrices threed_indoor_recognition
    point_tracking threed_cad_recognition single_object_tracking
    """
)
_LABEL = re.compile(r"(?m)^\s*\(?([A-Z])[:.)]")
_COLUMNS = Columns(
    text=("task", "question", "context"),
    other=("input_image_path", "output"),
    optional=("options", "visual_input_component", "source"),
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published file; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    values = _flat(row)
    task = row.text("task")
    texts = [_text(row, values, name) for name in ("question", "context")]
    asked = "\n".join(texts if task in _QUESTION_FIRST else reversed(texts))
    if not asked.strip():
        raise row.bad("empty_prompt", "question and context are empty")
    output = values.get("output")
    truth = output.strip().upper() if isinstance(output, str) else output
    images = _images(row, values.get("input_image_path"))
    example = Example(
        id=str(row.number),
        source=SOURCE,
        question=mc.missing_tags(row, asked, len(images)) + asked,
        images=images,
        answer=mc.answer_letter(row, truth, mc.LETTERS),
        place=row.name,
    )
    listed = _LABEL.findall(_text(row, values, "options"))
    letters = "".join(listed or choices(example)) or _SINGLE_LETTERS
    return replace(example, metadata={"task": task, "letters": letters})


def _flat(row: PublishedRow) -> dict[str, Any]:
    """A row's values by column; those of the nested JSON under the names of the flat columns."""
    values = dict(row.columns)
    if isinstance(asked := values.pop("input", None), Mapping):
        values = {**asked, **values}
    if isinstance(said := values.get("output"), Mapping):
        values = {**values, "output": said.get("output_text")}
    return values


def _text(row: PublishedRow, values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise row.bad(f"bad_{name}", f"{name}: expected text; got {str(value)[:50]!r}")
    return value or ""


def _images(row: PublishedRow, paths: Any) -> tuple[bytes, ...]:
    listed = [paths] if isinstance(paths, str) else paths
    if listed is not None and not isinstance(listed, list):
        raise row.bad("no_images", f"input_image_path: expected paths; got {str(paths)[:50]!r}")
    if not listed:
        raise row.bad("no_images", "the row has no images")
    return tuple(_image(row, path) for path in listed)


def _image(row: PublishedRow, path: Any) -> bytes:
    """An image at its path, or without the folder of its zip file."""
    try:
        return row.image(path)
    except BadRow as error:
        parts = PurePosixPath(path).parts[1:] if isinstance(path, str) else ()
        if error.reason != "missing_image" or not parts:
            raise
        try:
            return row.image(str(PurePosixPath(*parts)))
        except BadRow:
            raise error from None


def official(example: Example) -> str:
    """Question and context in the order of the task, after the images, and the instruction."""
    return example.question + SUFFIX


def score(example: Example, response: str) -> Scored:
    """The letter that is chosen, or the one option that is said; open for a judge otherwise.

    An empty response is wrong without one.
    """
    text = final(response)
    letter = whole_letter(text, _SINGLE_LETTERS) or mc.chosen(example, text)
    if letter is None and text:
        return Scored(None, None)
    return mc.scored(letter, example.answer)


def judge(example: Example, response: str, ask: Ask) -> Scored:
    """Asks which option is chosen, where the rules do not say."""
    ruled = score(example, response)
    return mc.judged(example, response, ask) if ruled.score is None else ruled


BENCHMARK = Benchmark(
    name="mmiu",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/FanqingM/MMIU-Benchmark",
    read=read,
    official=official,
    score=score,
    judge=judge,
    overall=mean_of_tasks,
    paper={
        "Qwen2.5-VL-7B": 52.00, "PeRL": 54.23, "MM-Eureka-Qwen": 51.7, "NoisyRollout-K12": 52.1,
        "R1-Onevision-7B": 46.5,
    },
)  # fmt: skip
