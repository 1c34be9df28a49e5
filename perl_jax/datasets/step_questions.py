"""Questions about frames that show the steps of a task; each has one right answer.

====================  ================================================  =======================
kind                  shows                                             asks
====================  ================================================  =======================
description_to_frame  the text of a step                                which frame shows it
missing_frame         the steps before and after a step                 which frame shows it
next_frame            the steps up to one, in order                     which frame comes next
ordering              the texts in order and all the frames, shuffled   for the order of frames
====================  ================================================  =======================

The first three end with four lettered frames: the right one and distractors, first unshown frames
of the same sequence, then one each of other sequences. No distractor has the pixels or the text of
the right one, but it may look much like it: near duplicates are not looked for.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perl_jax.data.sources.source import BadRow
from perl_jax.legible import brief
from perl_jax.permutation.answers import find_orders
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.processing import find_slots
from perl_jax.types import Example

KINDS = {"description_to_frame": 1, "missing_frame": 3, "next_frame": 2, "ordering": 2}
"""The kinds of questions, and the least number of steps for each."""

_LETTERS = "ABCD"
_MANY_SLOTS = 20  # more than any question shows


@dataclass(frozen=True)
class Frame:
    """An encoded frame and the text of its step."""

    step: str
    image: bytes

    def like(self, other: "Frame") -> bool:
        """Whether both have the same bytes or the same text."""
        same_text = self.step.casefold().strip(" .") == other.step.casefold().strip(" .")
        return same_text or self.image == other.image


Others = Callable[[random.Random, str], Iterator[Frame]]
"""Yields one frame each of other sequences, given the generator and this sequence's id."""


@dataclass(frozen=True)
class _Draft:
    """A question without its distractors."""

    text: str
    shown: tuple[int, ...]  # the frames before the options
    right: int


def names_images(step: str) -> bool:
    """Whether a step's text, such as "Hang up the second picture", would be read as naming images.

    The permutation would rewrite it when the images move.
    """
    if find_slots(step):
        return True
    reader = Reader(_MANY_SLOTS)
    scan = read_references(step, reader)
    try:
        return bool(scan.mentions or scan.runs or find_orders(step, reader, whole=False))
    except CannotPermute:
        return True


def ask(
    kind: str, id: str, frames: Sequence[Frame], others: Others, *, seed: int, source: str
) -> Example:
    """Makes one question about a sequence; the same arguments give the same question.

    ``kind`` is one of `KINDS`; ``frames`` are all frames of the sequence ``id``, in order.

    Raises:
        BadRow: ``no_distractors``, or ``repeated_step`` (two frames or texts are the same, so
            several orders would be right).
        OSError: The storage fails.
    """
    rng = random.Random(f"{seed} {kind} {id}")
    row = f"{id}-{kind}"
    if kind == "ordering":
        question, images, answer = _ordering(rng, frames, row)
    else:
        draft = _DRAFTS[kind](rng, frames)
        question, images, answer = _choice(rng, draft, frames, others(rng, id), row)
    metadata = {"question_type": kind, "change_needed": True, "sequence": id}
    return Example(row, source, question, images, answer, metadata=metadata)


Question = tuple[str, tuple[bytes, ...], str]


def _describe(rng: random.Random, frames: Sequence[Frame]) -> _Draft:
    right = rng.randrange(len(frames))
    text = f"A step of a task: {frames[right].step}\nWhich image shows this step?"
    return _Draft(text, (), right)


def _miss(rng: random.Random, frames: Sequence[Frame]) -> _Draft:
    right = rng.randrange(1, len(frames) - 1)
    text = (
        "A step is missing between these two steps of a task.\n"
        f"Before it: {frames[right - 1].step}\n<image>\n"
        f"After it: {frames[right + 1].step}\n<image>\n"
        "Which image shows the missing step?"
    )
    return _Draft(text, (right - 1, right + 1), right)


def _continue(rng: random.Random, frames: Sequence[Frame]) -> _Draft:
    right = rng.randrange(1, len(frames))
    steps = "".join(
        f"Step {number}: {frame.step}\n<image>\n" for number, frame in enumerate(frames[:right], 1)
    )
    text = f"A task begins with these steps.\n{steps}Which image shows the step that comes next?"
    return _Draft(text, tuple(range(right)), right)


_DRAFTS = {"description_to_frame": _describe, "missing_frame": _miss, "next_frame": _continue}


def _choice(
    rng: random.Random, draft: _Draft, frames: Sequence[Frame], others: Iterator[Frame], row: str
) -> Question:
    """A question with four lettered frames in random order."""
    right = frames[draft.right]
    unseen = [n for n in range(len(frames)) if n != draft.right and n not in draft.shown]
    own = [frames[n] for n in rng.sample(unseen, len(unseen))]
    chosen = [right]
    for frame in itertools.chain(own, others):
        if not frame.like(right) and all(frame.image != other.image for other in chosen):
            chosen.append(frame)
        if len(chosen) == len(_LETTERS):
            break
    else:
        raise BadRow("no_distractors", row, f"{len(chosen) - 1} frames to choose from; expected 3")
    rng.shuffle(chosen)
    options = "".join(f"\n{letter}. <image>" for letter in _LETTERS)
    images = (*(frames[n].image for n in draft.shown), *(frame.image for frame in chosen))
    return f"{draft.text}\nOptions:{options}", images, _LETTERS[chosen.index(right)]


def _ordering(rng: random.Random, frames: Sequence[Frame], row: str) -> Question:
    """The question about the order of all frames, with up to four orders as options."""
    for one, other in itertools.combinations(frames, 2):
        if one.like(other):
            raise BadRow("repeated_step", row, f"{brief(other.step)} is shown twice")
    count = len(frames)
    shown = rng.sample(range(count), count)  # place j shows frame shown[j]
    right = tuple(shown.index(number) for number in range(count))
    orders = [right]
    while len(orders) < min(len(_LETTERS), math.factorial(count)):
        order = tuple(rng.sample(range(count), count))
        if order not in orders:
            orders.append(order)
    rng.shuffle(orders)
    steps = "".join(f"\nStep {number}: {frame.step}" for number, frame in enumerate(frames, 1))
    options = "".join(
        f"\n{letter}. {'→'.join(str(place + 1) for place in order)}"
        for letter, order in zip(_LETTERS, orders, strict=False)
    )
    question = (
        f"{'<image>' * count}\nThese images show the steps of a task, but shuffled.{steps}\n"
        f"Which option lists the images in the order of the steps?\nOptions:{options}"
    )
    images = tuple(frames[n].image for n in shown)
    return question, images, _LETTERS[orders.index(right)]
