"""The built-in demo: questions about handwritten digits, in PeRL's four kinds.

The images are scikit-learn's scans (Alpaydin and Kaynak, UCI 1998, CC BY 4.0), and their labels
give the answers. Training and held-out rows share no image.

========  =====================================================  ==============================
kind      question                                               after
========  =====================================================  ==============================
position  is a statement about images named by their place true  NLVR2
property  which of the lettered images has a property            IconQA
match     which of the lettered images shows the same digit      DreamSim
order     put the images in order                                ShowHowTo
========  =====================================================  ==============================
"""

import functools
import gzip
import hashlib
import importlib.util
import json
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Len
from PIL import Image

from perl_jax.data.sources.source import SourceKind
from perl_jax.processing import encode_image
from perl_jax.settings import Count, CountOrZero, Fraction
from perl_jax.types import Example

Kind = Literal["position", "property", "match", "order"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Split = Literal["train", "held_out"]

_LETTERS = "ABCD"
_ORDINALS = ("first", "second", "third", "fourth")
_SIDE = 28


@dataclass(frozen=True)
class DigitsConfig(SourceKind):
    """Settings of the questions.

    Attributes:
        split: ``train`` or ``held_out``: they share no image.
        rows: The number of questions.
        seed: The seed of the questions; the split of the images does not depend on it.
        kinds: The kinds, each equally frequent.
        images: The fewest and the most images of a question, within 2 to 4.
        skew: The share of rows whose right answer stands first, as in data with a positional
            bias; the others are spread evenly over the other places. None: all places equally.
        first_responses: The share of rows whose ``response`` gives the first place, right or
            wrong, as a policy with a positional bias would.
        first_from: The first row that may have such a response.
    """

    split: Split = "train"
    rows: Count = 4096
    seed: int = 0
    kinds: Annotated[tuple[Kind, ...], Len(1)] = KINDS
    images: tuple[int, int] = (2, 4)
    skew: Fraction | None = None
    first_responses: Fraction = 0.0
    first_from: CountOrZero = 0

    def _check_together(self) -> None:
        low, high = self.images
        if not 2 <= low <= high <= 4 or ("match" in self.kinds and high < 3):
            raise ValueError(
                f"images: expected a range within 2 to 4, up to 3 at least for kind match; "
                f"got {self.images}"
            )

    def open(self) -> "Digits":
        """Makes the source, which needs no file."""
        return Digits(self)


class Digits:
    """The source: row i depends on the configuration and i only.

    Every example's metadata has ``question_type`` (its kind) and ``response``, a worked answer for
    supervised training: the digits by letter, the conclusion, and the answer in a box.
    """

    def __init__(self, config: DigitsConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.rows

    def __getitem__(self, index: int) -> Example:
        config = self.config
        if not 0 <= index < config.rows:
            raise IndexError(f"digits: expected a row from 0 to {config.rows - 1}; got {index}")
        kind = config.kinds[index % len(config.kinds)]
        id = f"{config.split}-{config.seed}-{index}"
        rng = random.Random(f"digits {id}")
        task = _TASKS[kind](rng, config)
        biased = rng.random() < config.first_responses and index >= config.first_from
        answer = task.first if biased else task.answer
        pairs = zip(task.names, task.digits, strict=True)
        seen = " ".join(f"{name}{digit}" for name, digit in pairs)
        return Example(
            id=id,
            source="digits",
            question=task.question,
            images=tuple(rng.choice(_scans(config.split)[digit]) for digit in task.digits),
            answer=task.answer,
            metadata={
                "question_type": kind,
                "response": f"<think> {seen}={task.found}</think>\\boxed{{{answer}}}",
            },
        )

    def fingerprint(self) -> str:
        """A digest of the configuration and the first question."""
        content = json.dumps(asdict(self.config), sort_keys=True) + self[0].question
        return hashlib.sha256(content.encode()).hexdigest()


def words() -> tuple[str, ...]:
    """The words of the questions and responses: the vocabulary of a small policy."""
    texts = [
        *_ORDINALS,
        "The image shows a larger digit than the image.",
        "\nA. True\nB. False\nC.\nD.",
        "Which image shows the largest smallest digit?",
        "Reference:",
        "Which image shows the same digit?",
        "Put the images in order from the smallest to the largest.",
        "<think> A B C D R</think>\\boxed{A} {B} {C} {D} =A =B =C =D True False",
        "→",
        "system user assistant You are a helpful assistant.",
    ]
    pieces = re.findall(r"[^\w\s]?[^\W\d_]+|[^\w\s]+", " ".join(texts))
    return tuple(dict.fromkeys(pieces))


@dataclass(frozen=True)
class _Question:
    """A question: its images' digits and names, the conclusion, the right and the first answer."""

    question: str
    digits: tuple[int, ...]
    names: str
    found: str
    answer: str
    first: str


def _position(rng: random.Random, config: DigitsConfig) -> _Question:
    count = rng.randint(*config.images)
    digits = tuple(rng.sample(range(10), count))
    one, other = rng.sample(range(count), 2)
    truth = rng.random() < 0.5
    larger, smaller = (one, other) if (digits[one] > digits[other]) == truth else (other, one)
    place = _place(rng, 2, config.skew)  # of the right option
    words = ("True", "False") if (place == 0) == truth else ("False", "True")
    statement = (
        f"The {_ORDINALS[larger]} image shows a larger digit than the {_ORDINALS[smaller]} image."
    )
    question = f"{'<image>' * count}{statement}\nA. {words[0]}\nB. {words[1]}"
    found = " ".join(f"{_LETTERS[slot]}{digits[slot]}" for slot in (larger, smaller))
    return _Question(question, digits, _LETTERS[:count], f"{found} {truth}", _LETTERS[place], "A")


def _property(rng: random.Random, config: DigitsConfig) -> _Question:
    count = rng.randint(*config.images)
    digits = tuple(rng.sample(range(10), count))
    place = _place(rng, count, config.skew)
    wanted = rng.choice(("largest", "smallest"))
    target = max(digits) if wanted == "largest" else min(digits)
    others = [digit for digit in digits if digit != target]
    digits = (*others[:place], target, *others[place:])
    question = f"Which image shows the {wanted} digit?{_options(count)}"
    found = f"{target}{_LETTERS[place]}"
    return _Question(question, digits, _LETTERS[:count], found, _LETTERS[place], "A")


def _match(rng: random.Random, config: DigitsConfig) -> _Question:
    count = rng.randint(max(2, config.images[0] - 1), config.images[1] - 1)
    digits = tuple(rng.sample(range(10), count))
    place = _place(rng, count, config.skew)
    question = f"Reference: <image>\nWhich image shows the same digit?{_options(count)}"
    found = f"{digits[place]}{_LETTERS[place]}"
    shown = (digits[place], *digits)
    return _Question(question, shown, "R" + _LETTERS[:count], found, _LETTERS[place], "A")


def _order(rng: random.Random, config: DigitsConfig) -> _Question:
    count = rng.randint(*config.images)
    digits = tuple(rng.sample(range(10), count))
    falling = rng.random() < 0.5
    ranked = sorted(digits, reverse=falling)
    if config.skew is not None:
        in_order = rng.random() < config.skew
        while (list(digits) == ranked) != in_order:
            digits = tuple(rng.sample(digits, count))
    ends = ("largest", "smallest") if falling else ("smallest", "largest")
    question = f"{'<image>' * count}Put the images in order from the {ends[0]} to the {ends[1]}."
    answer = "→".join(str(digits.index(digit) + 1) for digit in ranked)
    first = "→".join(str(place + 1) for place in range(count))
    found = " ".join(f"{digit}{_LETTERS[digits.index(digit)]}" for digit in ranked)
    return _Question(question, digits, _LETTERS[:count], found, answer, first)


_TASKS = {"position": _position, "property": _property, "match": _match, "order": _order}


def _options(count: int) -> str:
    return "".join(f"\n{letter}. <image>" for letter in _LETTERS[:count])


def _place(rng: random.Random, count: int, skew: float | None) -> int:
    """The place of the right answer."""
    if skew is None:
        return rng.randrange(count)
    return 0 if rng.random() < skew else rng.randrange(1, count)


@functools.cache
def _scanned_digits() -> list[list[int]]:
    """The 64 levels, from 0 to 16, and the digit of every scan."""
    # Importing scikit-learn takes seconds, and its file is all that is needed.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt", encoding="ascii") as lines:
        return [[int(float(value)) for value in line.split(",")] for line in lines]


@functools.cache
def _scans(split: str) -> tuple[tuple[bytes, ...], ...]:
    """The PNG files of a split, by digit."""
    files: list[list[bytes]] = [[] for _ in range(10)]
    for number, (*levels, digit) in enumerate(_scanned_digits()):
        pixels = np.array(levels, np.float64).reshape(8, 8)
        # Every fourth scan is held out.
        if (number % 4 == 3) == (split == "held_out"):
            image = Image.fromarray((255 - pixels * (255 / 16)).astype(np.uint8))
            image = image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            files[digit].append(encode_image(image))
    return tuple(map(tuple, files))
