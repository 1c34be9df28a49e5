"""An oracle looks at the permuted images, reads the permuted text, and must find the same answer.

Pictures are grey squares, and every question is about brightness, so that the answer can be
computed. The oracle reads its few templates with a parser of its own.
"""

import re

import numpy as np
import pytest

from perl_jax.permutation import (
    CannotPermute,
    Rule,
    RuleByColumn,
    inverse,
    movable_slots,
    permute,
    rule_for,
    sample_orders,
)
from perl_jax.types import Example
from tests.fuzz.fuzzing import cases

pytestmark = pytest.mark.fuzz

CASES = cases(quick=100, soak=900)
WORDS = ["one", "two", "three", "four", "five", "six"]
NTH = ["first", "second", "third", "fourth", "fifth", "sixth"]
# A Golomb ruler: no two pairs of greys are equally far apart, so "nearest" is never a tie.
GREYS = [20 + 4 * mark for mark in (0, 1, 6, 10, 23, 26, 34, 41, 53, 55)]
SIDES = {1: ["left"], 2: ["left", "right"], 3: ["left", "middle", "right"]}


# --- the oracle's own reading of references ---------------------------------------------------


def slot_named(words, count):
    """Which slot a reference such as "the second image" or "Image 2" means, read afresh."""
    words = words.lower().strip(" .")
    if match := re.fullmatch(r"(?:image )?(\d)", words):
        return int(match[1]) - 1
    if match := re.fullmatch(r"image (\w+)", words):
        return WORDS.index(match[1])
    place = re.fullmatch(r"(?:the )?(?:image on the )?([\w-]+)(?: image)?", words)[1]
    if place.endswith("-to-last"):
        return count - 1 - NTH.index(place.removesuffix("-to-last"))
    if place == "last":
        return count - 1
    if place in NTH:
        return NTH.index(place)
    if re.fullmatch(r"\d\w\w", place):
        return int(place[0]) - 1
    return SIDES[count].index(place)


def a_name(rng, slot, count):
    """A reference to a slot, in one of many forms."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(slot + 1, "th")
    names = [
        f"image {slot + 1}", f"image {WORDS[slot]}", f"the {NTH[slot]} image",
        f"the {slot + 1}{suffix} image",
    ]  # fmt: skip
    if slot == count - 1:
        names.append("the last image")
    if count in (2, 3):
        names.append(f"the {SIDES[count][slot]} image")
    if count == 2:
        names.append(f"the image on the {SIDES[2][slot]}")
    return str(rng.choice(names))


def grey(image):
    return int(image[0, 0])


def a_letter(options, truth):
    """The letter of the one option for which ``truth`` holds."""
    (letter,) = [text.strip("( ")[0] for text in options if truth(text)]
    return letter


# --- tasks: each makes an example, with its answer, and solves one ----------------------------


class Compare:
    """ "Image 2 is brighter than the last image." True or false?"""

    rule = Rule()

    def text(self, rng, count):
        a, b = rng.choice(count, 2, replace=False)
        verb = rng.choice(["brighter", "darker"])
        claim = f"{a_name(rng, a, count)} is {verb} than {a_name(rng, b, count)}."
        return f"{'<image>' * count} True or false: {claim}", ("(A) True", "(B) False")

    def solve(self, example):
        a, verb, b = re.search(
            r"false: (.*) is (brighter|darker) than (.*)\.", example.question
        ).groups()
        count = len(example.images)
        a, b = (grey(example.images[slot_named(words, count)]) for words in (a, b))
        holds = a > b if verb == "brighter" else a < b
        return a_letter(example.options, lambda text: text.endswith(str(holds)))


class Sides(Compare):
    """Statements about the left and the right picture, under the rule of NLVR2."""

    rule = rule_for("TIGER-Lab/NLVR2")
    counts = (2,)


class Select:
    """ "Which image is the brightest?" with options that name the images; letters stay."""

    rule = Rule()

    def text(self, rng, count):
        slots = rng.permutation(count)
        form = [lambda s: f"Image {s + 1}", lambda s: f"the {NTH[s]} image"][rng.integers(2)]
        options = tuple(f"({chr(65 + i)}) {form(slot)}" for i, slot in enumerate(slots))
        return (
            "<image> " * count + f"Which image is the {rng.choice(['dark', 'bright'])}est?",
            options,
        )

    def solve(self, example):
        greys = [grey(image) for image in example.images]
        slot = greys.index(max(greys) if "bright" in example.question else min(greys))
        return a_letter(example.options, lambda o: slot_named(o[4:], len(greys)) == slot)


class SelectByLetter(Select):
    """The same, but options stay and the letter follows the picture."""

    rule = Rule(movable="option_images", answer="remap_letter")


class Inline(Select):
    """The same, with the options, images and text all in the question."""

    rule = Rule(answer="remap_letter")

    def text(self, rng, count):
        question, options = super().text(rng, count)
        return f"{question} {' '.join(options)}", ()

    def solve(self, example):
        question, *options = re.split(r"(?=\([A-F]\))", example.question)
        return super().solve(Example("", "", question, example.images, "", tuple(options)))


class Shown:
    """Options are pictures: "Which picture is darker than 40?", perhaps none of them."""

    rule = rule_for("IIGroup/Mantis-Instruct-iconqa")

    def text(self, rng, count):
        limit = 20 * int(rng.integers(1, 3))
        options = [f"{chr(65 + i)}. <image>" for i in range(count)]
        return f"Which picture is darker than {limit}?", (*options, f"{chr(65 + count)}. None")

    def greys(self, rng, count):
        return [10 + 30 * int(rng.integers(2)), *(100 + 10 * i for i in range(1, count))]

    def solve(self, example):
        limit = int(re.search(r"than (\d+)", example.question)[1])
        dark = [i for i, image in enumerate(example.images) if grey(image) < limit]
        return chr(65 + (dark[0] if dark else len(example.images)))


class Match:
    """The first picture is the reference; the others are options."""

    rule = Rule(movable="all_but_first", answer="remap_letter")
    counts = (3, 4, 5)

    def text(self, rng, count):
        question = "The first image is the reference: <image>\nWhich is nearest?\n"
        labels = [f"{chr(65 + i)}. <image>" for i in range(count - 1)]
        if rng.integers(2):
            return question, tuple(labels)
        return question + "\n".join(labels), ()

    def solve(self, example):
        own, *others = map(grey, example.images)
        return chr(65 + int(np.argmin([abs(own - other) for other in others])))


class Similar:
    """Dreamsim's questions, with a letter or a sentence as the answer."""

    rule = rule_for("Mantis-Instruct-dreamsim")
    counts = (3,)

    def text(self, rng, count):
        k, *others = (int(slot) + 1 for slot in rng.permutation(3))
        question = (
            f"<image><image><image>If image {k} is the reference image, which image of the other"
            " two is more similar to the reference image?"
        )
        options = (f"(A) Image {others[0]}", f"(B) Image {others[1]}")
        return question, options if rng.integers(2) else ()

    def solve(self, example):
        k = int(re.search(r"image (\d) is the ref", example.question)[1]) - 1
        greys = [grey(image) for image in example.images]
        others = [slot for slot in range(3) if slot != k]
        best = min(others, key=lambda slot: abs(greys[slot] - greys[k]))
        if not example.options:
            return f"Image {best + 1} is more similar to the reference image."
        return a_letter(example.options, lambda o: o.endswith(str(best + 1)))


class Order:
    """ "Sort from dark to bright": lettered orders, or none of them, counted from 1."""

    rule = rule_for(Example("", "ShowHowTo_e", "", (1, 2), "", (), {"question_type": "ordering"}))
    counts = (4,)
    base, layout = 1, "→".join

    def write(self, slots):
        return self.layout(str(slot + self.base) for slot in slots)

    def read(self, text):
        return [int(n) - self.base for n in re.findall(r"\d", text)]

    def text(self, rng, count):
        orders = [tuple(rng.permutation(count)) for _ in range(3)]
        if rng.integers(4):
            orders.append(self.sorted_slots)
        orders = list(dict.fromkeys(orders))
        options = [f"{chr(65 + i)}. {self.write(orders[i])}" for i in rng.permutation(len(orders))]
        options = [f"{chr(65 + i)}{option[1:]}" for i, option in enumerate(options)]
        return "<image>" * count + " Sort from dark to bright.", (*options, "E. None of the above")

    def solve(self, example):
        slots = list(np.argsort([grey(image) for image in example.images]))
        letters = [o[0] for o in example.options[:-1] if self.read(o) == slots]
        return letters[0] if letters else "E"


class PlainOrder(Order):
    """The answer is itself an order, counted from 0."""

    rule = Rule(answer="relabel_order", index_base=0)
    counts = (2, 3, 4, 5)
    base = 0

    def layout(self, parts):
        return f"[{', '.join(parts)}]"

    def text(self, rng, count):
        return "<image>" * count + " Sort from dark to bright.", ()

    def solve(self, example):
        return self.write(np.argsort([grey(image) for image in example.images]))


class Count:
    """ "How many of images 1, 3 and 4 are brighter than 90?" """

    rule = Rule()
    counts = (3, 4, 5)

    def text(self, rng, count):
        a, b, c = (slot + 1 for slot in rng.choice(count, 3, replace=False))
        which = rng.choice(["the images", f"images {a}, {b} and {c}", f"images {a} and {b}"])
        return "<image>" * count + f" How many of {which} are brighter than 90?", ()

    def solve(self, example):
        named = re.search(r"How many of (.*) are", example.question)[1]
        slots = [int(n) - 1 for n in re.findall(r"\d", named)] or range(len(example.images))
        return str(sum(grey(example.images[slot]) > 90 for slot in slots))


class Range:
    """ "Is the brightest one among images 2-4?": it can move only if it stays a range."""

    rule = Rule()
    counts = (4, 5)

    def text(self, rng, count):
        low = int(rng.integers(1, count))
        high = int(rng.integers(low + 1, count + 1))
        return "<image>" * count + f" Is the brightest picture one of images {low}-{high}?", ()

    def solve(self, example):
        low, high = map(int, re.search(r"(\d)-(\d)", example.question).groups())
        slot = int(np.argmax([grey(image) for image in example.images]))
        return "yes" if low - 1 <= slot < high else "no"


class Bare:
    """ "Which image is the brightest?" answered by a bare number or ordinal."""

    rule = Rule(answer="reference")

    def text(self, rng, count):
        return "<image>" * count + f" Which image is the brightest? {rng.choice(['#', '@'])}", ()

    def solve(self, example):
        slot = int(np.argmax([grey(image) for image in example.images]))
        return str(slot + 1) if "#" in example.question else NTH[slot]


class LastFour:
    """ShowHowTo: a stem of frames, then four pictures that the question does not letter."""

    rule = rule_for(Example("", "ShowHowTo", "", (1, 2), "", (), {"question_type": "next_frame"}))
    counts = (5, 6)

    def text(self, rng, count):
        stem = "<image> " * (count - 4)
        return f"{stem}What is the next frame?\nOptions: <image> <image> <image> <image>", ()

    def solve(self, example):
        return chr(65 + int(np.argmax([grey(image) for image in example.images[-4:]])))


TASKS = [Compare, Sides, Select, SelectByLetter, Inline, Shown, Match, Similar, Order, PlainOrder,
         Count, Range, Bare, LastFour]  # fmt: skip


def make(task, number):
    """Example ``number`` of a task, with the answer that the oracle finds."""
    rng = np.random.default_rng((number, TASKS.index(type(task))))
    count = int(rng.choice(getattr(task, "counts", (2, 3, 4, 5))))
    greys = rng.choice(GREYS, count, replace=False)
    if isinstance(task, Shown):
        greys = rng.permutation(task.greys(rng, count))
    task.sorted_slots = tuple(np.argsort(greys))
    images = tuple(np.full((2, 2), value, np.uint8) for value in greys)
    question, options = task.text(rng, count)
    blank = Example(f"{type(task).__name__}-{number}", "test", question, images, "", options)
    return Example(blank.id, "test", question, images, task.solve(blank), options)


def same(a, b):
    words = ("id", "source", "question", "answer", "options")
    return all(getattr(a, word) == getattr(b, word) for word in words) and all(
        x is y for x, y in zip(a.images, b.images, strict=True)
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_the_oracle_agrees_on_every_permuted_example(task):
    task, refusals, permuted, changed_words, changed_answer = task(), set(), 0, 0, 0
    for number in range(CASES):
        own = make(task, number)
        movable = movable_slots(own, task.rule)
        (order,) = sample_orders(0, 0, own.id, len(own.images), 1, movable=movable)
        try:
            other = permute(own, order, task.rule)
        except CannotPermute as error:
            refusals.add(error.reason)
            continue
        permuted += 1
        changed_words += (other.question, other.options) != (own.question, own.options)
        changed_answer += other.answer != own.answer
        assert [id(image) for image in other.images] == [id(own.images[i]) for i in order]
        assert task.solve(other) == other.answer, (own, order, other)
        assert same(permute(other, inverse(order), task.rule), own)
        assert permute(own, range(len(order)), task.rule) is own
    assert refusals == ({"set_not_expressible"} if task.__class__ is Range else set())
    assert permuted >= (CASES // 6 if task.__class__ is Range else CASES)
    assert changed_words + changed_answer > 0.3 * permuted  # the task does depend on the order


def test_there_are_enough_oracle_cases():
    assert CASES * (len(TASKS) - 1) >= cases(quick=1_000, soak=10_000)


def test_the_oracle_covers_every_kind_of_rule():
    rules = [task.rule for task in TASKS]
    assert {rule.answer for rule in rules} == {
        "invariant", "reference", "remap_letter", "relabel_order",
    }  # fmt: skip
    assert {"all", "all_but_first", "option_images", (-4, -3, -2, -1)} <= {
        rule.movable for rule in rules
    }
    assert not any(isinstance(rule, RuleByColumn) for rule in rules)
