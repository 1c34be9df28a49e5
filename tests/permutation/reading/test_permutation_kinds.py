"""Kinds of words that look harmless and are not: counts, changes, roles, labels, lists by place."""

import pytest

from perl_jax.permutation import CannotPermute, Rule, inverse, permute
from perl_jax.types import Example

SWAP, TURN, SHIFT = (1, 0), (1, 2, 0), (2, 0, 3, 1)
PLAIN, REFERENCE = Rule(), Rule(answer="reference")
WHICH = "Which photo is darkest?"
DIFFERENCES = "What are the differences between the photos?"


def outcome(question, order=SWAP, answer="yes", options=(), rule=PLAIN):
    """The new question and answer, or None where the example is refused."""
    images = tuple(f"picture {slot}" for slot in range(len(order)))
    own = Example("x", "mine", question, images, answer, tuple(options))
    try:
        new = permute(own, order, rule)
    except CannotPermute:
        return None
    assert permute(new, inverse(order), rule) == own
    return new.question, new.answer


COUNTS = [
    ("I see 2 hens in photo 1 and 1 in photo 2.", SWAP,
     "I see 2 hens in photo 2 and 1 in photo 1."),
    ("We count two hens in photo 1, and one in photo 2.", SWAP,
     "We count two hens in photo 2, and one in photo 1."),
    ("Is the one in photo 1 and the one in photo 2 red?", SWAP,
     "Is the one in photo 2 and the one in photo 1 red?"),
    ("A hen sits in photo 2 and two are in photo 1.", SWAP,
     "A hen sits in photo 1 and two are in photo 2."),
    ("There are 4 hens in photo 1 versus 3 in photo 4.", SHIFT,
     "There are 4 hens in photo 2 versus 3 in photo 3."),
    ("Do photo 1 and 2 show hens?", TURN, "Do photo 3 and 1 show hens?"),
    ("Photo 1 and 2 are dark.", TURN, "Photo 3 and 1 are dark."),
    ("The hens in photo 1 and 2 are red.", TURN, "The hens in photo 3 and 1 are red."),
]  # fmt: skip


@pytest.mark.parametrize(("question", "order", "expected"), COUNTS)
def test_a_count_in_another_image_is_no_image(question, order, expected):
    assert outcome(question, order) == (expected, "yes")


UNCLEAR_COUNTS = [
    "More hens sit in photo 1 and 2 with hats in photo 2.",
    "A hen is in photo 1 or 2 in photo 3.",
    "A hen is in photo 1 & 1 on the roof.",
    "In photos 1, 2 and 3 hens sleep.",
    "A hen is in photos 1 and 2 and 1 in photo 3.",
    "In photos 1 and 2, 3 of them sleep.",
]

CHANGES = [
    "What was removed?", "What has been added?", "What is missing?", "What got deleted?",
    "Did the number of hens decrease?", "Did the pond shrink?", "What new barns were built?",
    "Which barns appeared?", "Has the gate been opened?", "Has the hen moved?",
    "Which instruction would turn one photo into the other?", "How did the viewpoint shift?",
    "Initially the bowl is full.", "The bowl is empty at the end.", "At first, the bowl is full.",
    "What does the man eventually do?", "Is the hen no longer there?", "Is the bowl now empty?",
    "Is the hen still there?", "Finally a hen comes.", "Firstly a hen, secondly a goose.",
]  # fmt: skip

ROLES = [
    "Is the reference photo brighter than the query photo?", "Does the template fit the photo?",
    "Is the anchor like the positive?", "Is the base photo dark?", "Is the test image dark?",
    "Compared with baseline, is it larger?", "Is the candidate image dark?",
    "Does the reference match the other?", "Is the front image dark?",
]  # fmt: skip

LABELS = [
    "(a) <image> (b) <image> Is (a) older than (b)?", "Which is older, (A) or (B)?",
    "Is the hen in (a) red?",
]  # fmt: skip

PLACES = [
    "Which is the first photo to show a hen?", "Which is the last photo that shows a hen?",
    "Is this the right photo?", "The left photo in photo 1 is dark.",
    "The second photo on the wall in photo 2 is dark.",
    "The first photo of the second row is dark.",
    "The photo in the first row is dark.", "The photo most to the left is dark.",
    "Is this darker than that?", "On the left, a hen; on the right, a goose.",
    "On the left is a hen. On the right is a goose.",
    "Is the fist photo older than the second photo?", "Is the secnd photo old?",
    "Is the lfet photo old?", "The left and right photos show a hen and a goose.",
]  # fmt: skip


@pytest.mark.parametrize("question", CHANGES + ROLES + LABELS + PLACES)
def test_a_question_that_depends_on_the_order_is_refused(question):
    assert outcome(question) is None


@pytest.mark.parametrize("question", UNCLEAR_COUNTS)
def test_a_number_that_may_count_or_name_is_refused(question):
    assert outcome(question, TURN) is None


THINGS = [
    ("Is the first hen bigger than the second hen?", "yes"),
    ("Is the left hen bigger than the right hen?", "yes"),
    ("Which hen is bigger?", "the left hen"),
    ("Is house 1 bigger than house 2?", "yes"),
    ("Which person is taller?", "Person 2"),
]


@pytest.mark.parametrize(("question", "answer"), THINGS)
def test_things_told_apart_by_a_place_are_refused_where_each_may_be_alone_in_an_image(
    question, answer
):
    assert outcome(question, SWAP, answer) is None


NEIGHBOURS = [
    "The photo next to photo 1 is dark.", "The photo between photo 1 and photo 3 is dark.",
    "Is the picture right beside photo 2 dark?", "The photo adjacent to the first photo is dark.",
]  # fmt: skip


@pytest.mark.parametrize("question", NEIGHBOURS)
def test_the_neighbour_of_an_image_is_refused(question):
    assert outcome(question, TURN) is None


ANSWERS = [
    (DIFFERENCES, "The hen is no longer there", PLAIN),
    (DIFFERENCES, "The bowl is now red", PLAIN),
    (DIFFERENCES, "The bowl has been replaced by a cup.", PLAIN),
    (DIFFERENCES, "There are more hens", PLAIN),
    ("What do you see?", "A hen followed by a goose.", PLAIN),
    ("What does each photo show?", "a hen; a goose; a duck", PLAIN),
    ("Is there a hen in each photo?", "yes, no, yes", PLAIN),
    ("Describe each photo.", "A hen. A goose. A duck.", PLAIN),
    ("What animals are there?", "hen, goose, duck", PLAIN),
    ("What is the ratio of the hens in the photos?", "2:1", PLAIN),
    (WHICH, "(b)", PLAIN), (WHICH, "(B)", PLAIN), (WHICH, "links", PLAIN),
    ("Which photos show hens?", "2-3", PLAIN), ("Which photos show hens?", "1/3", REFERENCE),
    ("Which photos show hens?", "2+3", PLAIN), (WHICH, "1 < 2", PLAIN),
    (WHICH, r"\text{2}", REFERENCE), (WHICH, "Option 2", REFERENCE), (WHICH, "II", REFERENCE),
    ("Which of these in photo 2 is tallest?", "1", REFERENCE),
    ("Which is the hen of photo 1?", "2", REFERENCE),
    ("What is it? Give the number of the darkest.", "2", PLAIN),
    ("What is the number of the sharpest?", "2", PLAIN),
    ("Compute the area of each and give the largest photo.", "2", PLAIN),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "rule"), ANSWERS)
def test_an_answer_that_depends_on_the_order_is_refused(question, answer, rule):
    assert outcome(question, TURN, answer, rule=rule) is None


KEPT = [
    ("Do both photos show hens growing up near the barn?", "yes"),
    ("Do both show a hen without its missing leg?", "yes"),
    ("Now look at both photos. Are they dark?", "yes"),
    ("Do both photos show the first hen left of the second hen?", "yes"),
    ("Is the second hen red?", "yes"),
    ("Is the reference photo bright?", "yes"),
    ("Do both show the left end of the row?", "yes"),
    ("Is the grass longer than the hay in both photos?", "yes"),
    ("Is a hen missing its beak?", "yes"), ("What do they have in common?", "hens, geese"),
    (DIFFERENCES, "the colour of the hen"), (DIFFERENCES, "One has a hen, the other has none."),
    ("What is the area of the square in both?", "2+1"), ("How many hens are in both photos?", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), KEPT)
def test_words_of_these_kinds_that_are_harmless_stay(question, answer):
    assert outcome(question, SWAP, answer) == (question, answer)


FOLLOWED = [
    ("What is missing in photo 2?", "What is missing in photo 1?"),
    ("What was added from photo 1 to photo 2?", "What was added from photo 2 to photo 1?"),
    ("Compare the first photo to photo 2.", "Compare the second photo to photo 1."),
    ("Is the hen in photo 1 no longer in photo 2?", "Is the hen in photo 2 no longer in photo 1?"),
]


@pytest.mark.parametrize(("question", "expected"), FOLLOWED)
def test_a_change_between_named_images_follows_them(question, expected):
    assert outcome(question) == (expected, "yes")
