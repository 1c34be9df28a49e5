"""ShowHowTo: questions about sequences of frames that show the steps of a task."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perl_jax.data.sources.image_files import encoded_image
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet, by_split
from perl_jax.datasets.step_questions import KINDS, Frame, ask, names_images
from perl_jax.legible import brief
from perl_jax.processing import ImageError, encode_image, load_rgb
from perl_jax.types import Example

SOURCE = "ShowHowTo"
_PROMPTS, _STRIPS = "prompts.json", "imgseqs*/*.jpg"
# One strip is cut frame by frame; distractors come from any other, which is rarely used again.
_STRIPS_KEPT = 2
_TEXTS_KEPT = 2**12
_MAX_TRIED = 24  # sequences tried for distractors, as some cannot be read


class Strips:
    """The sequences of one split, below a directory with ``prompts.json`` and ``imgseqs*/``.

    A strip is a JPEG file with one frame per step, side by side and equally wide. Sequences without
    a strip are skipped: strips are given in parts, on request.

    Attributes:
        ids: The ids of the sequences, in the order of the strips' paths.
        steps: Returns the step texts of an id; raises `BadRow`: ``no_steps`` or ``bad_steps``.

    Raises:
        FileNotFoundError: There is no ``prompts.json``, or no strip.
        ValueError: ``prompts.json`` is broken, or two strips have one id.
    """

    def __init__(self, root: Path):
        self._root = root
        self._steps = _read_prompts(root / _PROMPTS)
        self._paths: dict[str, str] = {}
        for path in sorted(root.glob(_STRIPS)):
            name = path.relative_to(root).as_posix()
            if path.stem in self._paths:
                other = self._paths[path.stem]
                raise ValueError(f"{path}: expected one strip a sequence; {other} is another")
            self._paths[path.stem] = name
        if not self._paths:
            raise FileNotFoundError(f"{root / _STRIPS}: no such file")
        self.ids: Sequence[str] = tuple(self._paths)
        self._pixels = lru_cache(_STRIPS_KEPT)(self._read_strip)
        self.steps = lru_cache(_TEXTS_KEPT)(self._read_steps)

    def frame(self, id: str, number: int) -> Frame:
        """Returns one frame with the text of its step.

        Raises:
            BadRow: As `steps`, or ``missing_image``, ``unsafe_path``, ``bad_image``, ``bad_strip``.
            OSError: The storage fails.
        """
        steps = self.steps(id)
        pixels = self._pixels(id)
        width = pixels.shape[1] // len(steps)
        frame = np.ascontiguousarray(pixels[:, number * width : (number + 1) * width])
        # PNG: equal pixels give equal bytes, by which frames are compared.
        return Frame(steps[number], encode_image(Image.fromarray(frame)))

    def others(self, rng: random.Random, id: str) -> Iterator[Frame]:
        """Draws other sequences and yields one frame of each."""
        for other in rng.sample(self.ids, min(_MAX_TRIED, len(self.ids))):
            if other == id:
                continue
            try:
                frame = self.frame(other, rng.randrange(len(self.steps(other))))
            except BadRow:  # counted where that sequence is read for itself
                continue
            yield frame

    def _read_steps(self, id: str) -> tuple[str, ...]:
        texts, row = self._steps.get(id), self._paths[id]
        if not texts:
            raise BadRow("no_steps", row, f"{_PROMPTS} has no steps for this strip")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadRow("bad_steps", row, f"expected a list of texts; got {str(texts)[:80]}")
        steps = tuple(" ".join(text.split()) for text in texts)
        for text in steps:
            if not text or names_images(text):
                raise BadRow(
                    "bad_steps", row, f"{brief(text)} is empty, or names images by their place"
                )
        return steps

    def _read_strip(self, id: str) -> np.ndarray:
        """The strip of a sequence; uint8 ``[H, W, 3]``."""
        row, count = self._paths[id], len(self.steps(id))
        try:
            pixels = load_rgb(encoded_image(row, self._root, row))
        except ImageError as error:
            raise BadRow("bad_image", row, str(error)) from error
        height, width = pixels.shape[:2]
        if width % count:
            raise BadRow("bad_strip", row, f"{width} pixels cannot be cut into {count} frames")
        # The published loader also drops these: most likely they hold fewer frames.
        if width // count < height:
            raise BadRow("bad_strip", row, f"{count} frames in {width}x{height} are upright")
        return pixels


def read_questions(root: Path, *, seed: int = 0) -> Iterator[Example | BadRow]:
    """Makes the questions about every sequence of a directory, in the order of the strips' paths.

    A question depends on the seed, the id of its sequence and the directory's content only.
    Arguments and errors are those of `Strips`.

    Yields:
        For every sequence, an example or a `BadRow` for each kind that it has enough steps for; one
        `BadRow` if the sequence cannot be read.
    """
    strips = Strips(root)
    for id in strips.ids:
        try:
            frames = tuple(strips.frame(id, n) for n in range(len(strips.steps(id))))
        except BadRow as error:
            yield error
            continue
        for kind in KINDS:
            if len(frames) < KINDS[kind]:
                continue
            try:
                yield ask(kind, id, frames, strips.others, seed=seed, source=SOURCE)
            except BadRow as error:
                yield error


def _read_prompts(path: Path) -> Mapping[str, Any]:
    try:
        prompts = json.loads(path.read_bytes(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a whole JSON object: {error}") from error
    if not isinstance(prompts, dict):
        raise ValueError(f"{path}: expected an object; got {type(prompts).__name__}")
    return prompts


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {brief(twice)} stands twice")
    return found


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="show_how_to",
        source=SOURCE,
        title="ShowHowTo",
        homepage="https://github.com/soCzech/ShowHowTo",
        licence="MIT for the code; the frames are given on request",
        description=(
            "Sequences of 2 to 8 frames from instructional videos, each with the text of the step "
            "that it shows. Four kinds of questions are made of them: description_to_frame, which "
            "of four frames shows a step; missing_frame, which one stands between two; next_frame, "
            "which one comes next; and ordering, in which order shuffled frames belong. "
            "Metadata: question_type, change_needed (always true) and sequence."
        ),
        splits=by_split(
            lambda split, root: read_questions(root / f"ShowHowTo{split.capitalize()}"),
            "train",
            "test",
        ),
        files=(f"ShowHowTo*/{_PROMPTS}",),
    ),
)
