"""Rows like those of Mantis-Instruct's multi-image subsets, about grey squares, and an oracle.

Every question is about brightness, so that the answer can be computed from the images that an
example shows and from its text, which the oracle reads with a few patterns of its own.
"""

import io
import random
import re

import numpy as np
from PIL import Image

from tests.data.sources.parquet_files import verl_row
from tests.processing.image_files import encode

# A Golomb ruler: no two pairs of greys are equally far apart, so "more similar" is never a tie.
GREYS = [20 + 4 * mark for mark in (0, 1, 6, 10, 23, 26, 34, 41, 53, 55)]


def square(grey):
    return encode(Image.fromarray(np.full((28, 28, 3), grey, np.uint8)))


def grey_of(image):
    return int(np.asarray(Image.open(io.BytesIO(image)))[0, 0, 0])


def nlvr2(rng, claim="The {} image is {} than the {} image."):
    sides = rng.sample(["left", "right"], 2)
    words = rng.sample(["True", "False"], 2)
    text = claim.format(sides[0], rng.choice(["brighter", "darker"]), sides[1])
    question = (
        "Answer the following multiple-choice question:\nHere is a statement describing 2 images: "
        f"{text} <image> <image>\n(A) {words[0]}\n(B) {words[1]}"
    )
    return "Mantis-Instruct-nlvr2", question, rng.sample(GREYS, 2)


def dreamsim(rng):
    reference, *others = rng.sample([1, 2, 3], 3)
    question = (
        f"<image><image><image>If image {reference} is the reference image, which image of the "
        "other two is more similar to the reference image?\n"
        f"(A) Image {others[0]}\n(B) Image {others[1]}"
    )
    return "Mantis-Instruct-dreamsim", question, rng.sample(GREYS, 3)


def iconqa(rng):
    count = rng.randint(2, 4)
    options = "".join(f"\n{letter}. <image>" for letter in "ABCD"[:count])
    kind = rng.choice(["brightest", "darkest"])
    question = f"<image>\nWhich picture is the {kind}?{options}"
    return "Mantis-Instruct-iconqa", question, rng.sample(GREYS, count + 1)


def solve(source, question, greys):
    """The right answer, from what is shown and asked."""
    if source.endswith("nlvr2"):
        one, verb = re.search(r"The (left|right) image is (brighter|darker)", question).groups()
        left_is_brighter = greys[0] > greys[1]
        holds = left_is_brighter == ((one == "left") == (verb == "brighter"))
        return re.search(rf"\((.)\) {holds}", question)[1]
    if source.endswith("dreamsim"):
        reference = greys[int(re.search(r"If image (\d)", question)[1]) - 1]
        options = re.findall(r"\((.)\) Image (\d)", question)
        return min(options, key=lambda option: abs(greys[int(option[1]) - 1] - reference))[0]
    best = max if "brightest" in question else min
    return "ABCD"[greys.index(best(greys[1:])) - 1]


def row(index, source, question, greys, answer=None, **changed):
    """A row in verl's layout."""
    return verl_row(
        index,
        [{"bytes": square(grey), "path": None} for grey in greys],
        question,
        data_source=source,
        reward_model={
            "style": "rule",
            "ground_truth": solve(source, question, greys) if answer is None else answer,
        },
        change_needed=None,
        **changed,
    )


def solvable_rows(count, seed=0):
    """So many rows of each of the three subsets."""
    rng = random.Random(seed)
    made = [make(rng) for make in (nlvr2, dreamsim, iconqa) for _ in range(count)]
    return [row(index, *parts) for index, parts in enumerate(made)]
