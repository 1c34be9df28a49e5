"""A small benchmark with files of its own, and answerers whose answers are known."""

import io
import json

import numpy as np
from PIL import Image

from perl_jax.datasets.files import read_files
from perl_jax.evaluation.benchmark import Benchmark, Scored, mean_of_tasks
from perl_jax.evaluation.predictions import Answers
from perl_jax.evaluation.running import Task, run
from perl_jax.types import Example

LISTED = "\nA. <image>\nB. <image>\nC. <image>"


def read_row(row, place, number):
    images = tuple(picture(shade) for shade in row["shades"])
    if "broken" in row:
        images = (b"no picture", *images[1:])
    return Example(
        row["id"], "digits", row["question"], images, row["answer"],
        metadata={"task": row.get("task"), "question_type": "match"}, place=place,
    )  # fmt: skip


def picture(shade):
    """A PNG of one shade, with a mark, as an image of one colour has few patches that differ."""
    pixels = np.full((56, 56, 3), shade, np.uint8)
    pixels[: 1 + shade % 50] = 255 - shade
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def score(example, response):
    """The last letter, if the response has one; only a judge knows what "unsure" means."""
    if "unsure" in response:
        return Scored(None, None)
    letter = next((one for one in reversed(response) if one in "ABC"), None)
    return Scored(letter, float(letter == example.answer))


def judge(example, response, ask):
    said = ask(f"Is {response!r} the same as {example.answer}?")
    known = {"yes": 1.0, "no": 0.0}
    return Scored(example.answer if said == "yes" else None, known.get(said))


SCRIPTED = Benchmark(
    name="scripted",
    source="digits",
    homepage="https://example.org",
    read=lambda path: read_files(path.parent, path.name, read_row),
    official=lambda example: f"Look. {example.question}\nWhich?",
    score=score,
    judge=judge,
    overall=mean_of_tasks,
    more=lambda rows: {"strict": min(score for _, score in rows)},
    paper={"a system": 50.0, "another | system": 60.25},
)


def row(id, answer="A", task="first", **more):
    shades = [20 + 7 * len(id), 100, 180]
    question = f"Which image is the largest?{LISTED}"
    return {"id": id, "question": question, "shades": shades, "answer": answer, "task": task} | more


ROWS = [
    row("one", "A"), row("two", "B"), row("three", "C", "second"), row("four", "A", "second"),
    row("five", "A", "second"), row("six", "B"), row("seven", "C"),
]  # fmt: skip


def write_rows(folder, rows=ROWS):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def answering(responses, *, asked=None, fail_at=None):
    """An answerer that gives responses by id, or the letter A, and writes down who was asked."""
    asked = [] if asked is None else asked

    def answer(rows, activity):
        if fail_at is not None and any(row.id == fail_at for row in rows):
            raise RuntimeError("the power failed")
        asked.extend(row.id for row in rows)
        given = [responses.get(row.id, "A") for row in rows]
        return [Answers(((one,),)) if isinstance(one, str) else one for one in given]

    return lambda: answer


def task_in(folder, path, benchmark=SCRIPTED, **settings):
    given = {"batch": 2, "label": "ours", "settings": {"seed": 0}} | settings
    return Task(benchmark, path, folder / "out", **given)


def evaluated(folder, path, responses, **settings):
    """The scores and the lines of an evaluation by `answering`."""
    task = task_in(folder, path, **settings)
    scores = run(task, answering(responses))
    return scores, lines_of(task.out)


def lines_of(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
