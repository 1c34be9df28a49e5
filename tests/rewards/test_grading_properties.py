"""What holds for all answers: two values earn nothing, words mend nothing, truths match.

Thousands of answers are composed from values, joints and words, and graded at once.
"""

import itertools
import random

import pytest

from perl_jax.rewards import Grader, check_truth
from tests.fuzz.fuzzing import cases

pytestmark = pytest.mark.fuzz

NUMBERS = ["3", "-3", "8", "17", "0.25", "1,200", r"\frac{2}{7}", "6 kg", r"9 \text{ m}", "11%"]
NUMBERS += ["4 birds"]
EXPRESSIONS = [r"\sqrt{5}", r"2\pi", "x+2", "y^2-1", r"\frac{a}{b}", r"3\sqrt{2} \text{ cm}"]
EXPRESSIONS += [r"\sin x"]
LETTERS = ["A", "B", "(C)", "(D)"]
PICTURES = ["Image 1", "image 4", "the second picture", "fifth photo", "left image"]
PICTURES += ["the right one"]
WORDS = ["yes", "no", "red", "a bicycle", "New Delhi", "two dogs"]
TIMES = ["3:40 pm", "half past nine", "July 4, 2019", "2020-11-05", "March 8", "7 o'clock"]
MEASURES = ["5 ft 2 in", "1 h 20 min", "two hundred and five", "3/4 cup", "$6 per hour", "4:3"]
FORMULAS = ["H2O", "CO_2", r"\mathrm{NH_4^+}", "Al2O3"]
STRETCHES = ["x > 3", r"x \leq -2", "(1, 5)", "[2, 7)", "-4 < x < 0", r"\{y \mid y > 9\}"]
POINTS = ["(2, -3)", r"\langle 4, 1 \rangle", r"\begin{pmatrix} 6 \\ 5 \end{pmatrix}"]
NAMES = [r"\angle ABC", r"\triangle DEF", "15% off", "the Eiffel Tower", "J. K. Rowling"]
KINDS = (NUMBERS, EXPRESSIONS, LETTERS, PICTURES, WORDS, TIMES, MEASURES, FORMULAS, STRETCHES)
KINDS += (POINTS, NAMES)

JOINTS = [
    " or ", " and ", ", ", "; ", " ", r"\quad ", r" \text{ or } ", r"\text{ and }", " vs ", " but ",
    r" \text{ maybe } ", " = ", r" \approx ", r" \neq ", " → ", r" \to ", " (", " [", ". ", r" \\ ",
    " & ", " instead of ", ", not ", " (not ", ", or ", " perhaps ", " ... ", r" \mid ", "\n", ": ",
    " rather than ", "? ", " | ", r" \lor ", r" \cup ", " < ", r" \in ", "~", r"\,", " versus ",
]  # fmt: skip


def scores(grader, rows):
    answers, truths = zip(*rows, strict=True)
    grades = grader.grade([rf"So \boxed{{{answer}}}" for answer in answers], list(truths))
    return [grade.score for grade in grades]


def mistakes(grader, rows, wanted):
    return [row for row, score in zip(rows, scores(grader, rows), strict=True) if score != wanted]


def points(grader, rows):
    """The rows that earn a point; an unscored one is no point."""
    return [row for row, score in zip(rows, scores(grader, rows), strict=True) if score]


def test_an_answer_that_names_two_values_earns_nothing_for_either(grader):
    rows = [
        (f"{one}{joint}{other}", truth)
        for kind in KINDS
        for one, other in itertools.permutations(kind, 2)
        for joint in JOINTS
        for truth in (one, other)
    ]
    assert len(rows) > 25_000
    # All of them take minutes.
    some = random.Random(0).sample(rows, cases(quick=1500, soak=len(rows)))
    assert points(grader, some) == []


def test_a_set_is_earned_by_its_own_values_in_any_order_and_by_no_others(grader):
    rows, wrong = [], []
    for kind in (["3", "8", "17"], EXPRESSIONS[:3], ["A", "B", "D"], ["Image 1", "Image 4"]):
        for one, other in itertools.permutations(kind, 2):
            for truth in (f"{one} and {other}", rf"\{{{one}, {other}\}}", f"{one} or {other}"):
                rows += [(f"{one}, {other}", truth), (f"{other}, {one}", truth)]
                wrong += [(one, truth), (f"{one}, {one}", truth), (f"{one}, {one}, {other}", truth)]
            rows += [(f"{other} and {one}", f"{one} and {other}")]
            wrong += [(f"{one} or {other}", f"{one} and {other}")]
    assert mistakes(grader, rows, 1.0) == []
    assert mistakes(grader, wrong, 0.0) == []


def test_an_order_is_earned_only_in_its_order(grader):
    for items in (["3", "8", "17"], ["B", "A", "D"], ["Image 4", "Image 1", "Image 2"]):
        for form in (", ", "→", " -> ", r" \to "):
            right = [
                (form.join(items), "→".join(items)),
                ("[" + ", ".join(items) + "]", form.join(items)),
            ]
            assert mistakes(grader, right, 1.0) == []
            others = [form.join(order) for order in itertools.permutations(items)]
            wrong = [(answer, ", ".join(items)) for answer in others[1:]]
            assert mistakes(grader, wrong, 0.0) == []


_WORDS = """
    not never no about or more less almost at least most factorial squared cubed prime million dozen
    half percent cm kg hours dogs times plus minus maybe perhaps the answer is option image picture
    correct right wrong and both either none all total exactly approximately only first last left
    one two degrees units per over under double twice th o east increase a an of in to if then
    hence therefore so probably definitely surely true false final result equals value number
"""
ADDED = _WORDS.split()


def test_words_around_a_wrong_answer_never_make_it_right(grader):
    rng = random.Random(0)
    # No wrong number here is one that a scale or a percent sign would make right.
    values = [value for kind in KINDS for value in kind if value not in ("yes", "no", "red")]
    rows = []
    while len(rows) < cases(quick=1500, soak=20_000):
        wrong, truth = rng.sample(values, 2)
        words = " ".join(rng.choices(ADDED, k=rng.randint(1, 4)))
        forms = (f"{words} {wrong}", f"{wrong} {words}", rf"{wrong} \text{{ {words} }}",
                 rf"\text{{{words} }}{wrong}", f"{words}: {wrong}", f"{words} = {wrong}",
                 f"{wrong} ({words})", f"{wrong}, {words}", f"{wrong}. {words}")  # fmt: skip
        rows.append((rng.choice(forms), truth))
    assert points(grader, rows) == []


TRUTHS = [
    *itertools.chain(*KINDS), r"\begin{pmatrix} 1 & x \\ 0 & \sqrt{2} \end{pmatrix}", "3→1→2",
    "x = 7",
    r"\begin{cases} a = 1 \\ b = 2 \end{cases}", "2 and 5", r"\{1, \pi\}", "[1, 4)", r"x \leq 4",
    "(0, 9]", r"\emptyset", "y = 3x - 1", r"\infty", r"0.1\overline{6}", "4 1/2 hours", "AC",
    "(H) the red car", "A, D", r"\text{Area} = 12", "5 km/h", "15 minutes", r"60^\circ", "1:3",
    "$9", r"\frac{1}{2^{90}}", "3 + 2i", r"e^{2}", "2 million", r"\log_{2} 5",
    "f(x) = x^2", "9°",
]  # fmt: skip
DRESSES = [
    "{}",
    " {} ",
    "${}$",
    r"\({}\)",
    "**{}**",
    "{}.",
    "The answer is {}",
    "Answer: {}.",
    "{{{}}}",
]


def test_every_truth_matches_itself_in_every_dress(grader):
    assert [check_truth(truth) for truth in TRUTHS] == [None] * len(TRUTHS)
    assert grader.check_gold(TRUTHS) == [""] * len(TRUTHS)
    rows = [(dress.format(truth), truth) for truth in TRUTHS for dress in DRESSES
            if not (truth.startswith("$") and "$" in dress)]  # fmt: skip
    assert mistakes(grader, rows, 1.0) == []
    wrapped = ["<answer> {} </answer>", r"\boxed{{{}}}", r"The answer is \boxed{{{}}}.",
               r"$\boxed{{{}}}$", "They add up. #### {}",
               "<think>so</think><answer>{}</answer>"]  # fmt: skip
    rows = [(truth, form.format(truth)) for truth in TRUTHS for form in wrapped]
    assert mistakes(grader, rows, 1.0) == []


def test_different_truths_are_told_apart(grader):
    pairs = list(itertools.permutations(TRUTHS, 2))
    some = random.Random(0).sample(pairs, cases(quick=2000, soak=len(pairs)))
    assert points(grader, some) == []


@pytest.mark.parametrize(
    "truth", ["0/0", r"\frac{3}{0}", "5/0", "+++", "", "?", r"\boxed{1} or \boxed{2}"]
)
def test_a_truth_that_matches_nothing_is_refused_without_mathematics(truth):
    assert check_truth(truth)


def test_a_strict_grader_is_strict_about_small_numbers_and_a_tolerant_one_is_not():
    rows = [(r"\sqrt{2} \cdot 10^{-20}", r"\sqrt{2} \cdot 10^{-21}"), (r"10^{-40}", "0")]
    with Grader(num_workers=1, deadline=120.0) as strict:
        assert points(strict, rows) == []
    with Grader(num_workers=1, deadline=120.0, absolute_tolerance=1e-9) as tolerant:
        assert points(tolerant, rows) == rows
