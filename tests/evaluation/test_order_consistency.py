"""Whether two answers under two orders are the same answer: by hand, and by an oracle."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_jax.evaluation.consistency import is_consistent, orders_of
from perl_jax.permutation import Rule, permute
from perl_jax.types import Example

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PICK = Rule(movable="option_images", answer="remap_letter")
ORDERING = Rule(answer="relabel_order")
REFERENCE = Rule(answer="reference")
SAME = Rule()

# New slots show old images 1, 2, 0: what stood first is last now, second first, third second.
OWN, TURNED = (0, 1, 2), (1, 2, 0)
ALL = list(itertools.permutations(range(3)))


def example(question="?", images="xyz", answer="A", options=(), id="x"):
    return Example(id, "test", question, tuple(images), answer, tuple(options))


def pick(images="xyz", answer="A", id="x"):
    options = "".join(f"\n{letter}. <image>" for letter, _ in zip("ABCD", images, strict=False))
    return example(f"Which image shows a cat?{options}", images, answer, id=id)


ordering = example("<image><image><image>Put the images in order.", answer="2→1→3")
reference = example("<image><image><image>Which image shows a cat?", answer="the second image")
claim = example("<image><image><image>The first image shows a cat.\nA. True\nB. False")
words = example("<image><image><image>What do the images show?", answer="a cat")


def under_turned(own, rule, *predictions):
    return is_consistent(own, rule, [OWN, TURNED], predictions)


@pytest.mark.parametrize(("own", "turned"), [("A", "C"), ("B", "A"), ("C", "B")])
def test_a_letter_follows_the_image_that_it_stood_for(own, turned):
    for letter in "ABC":
        assert under_turned(pick(), PICK, own, letter) is (letter == turned)


def test_whether_the_answer_is_right_does_not_matter():
    for truth in "ABC":
        assert under_turned(pick(answer=truth), PICK, "B", "A") is True


@pytest.mark.parametrize(
    "prediction",
    ["A", "(A)", "A.", "a", "(A) the left image", r"\text{A}", "$A$"],
)
def test_a_letter_is_read_as_grading_reads_it(prediction):
    assert under_turned(pick(), PICK, prediction, "C") is True
    assert under_turned(pick(), PICK, "B", prediction) is True
    assert under_turned(pick(answer="(B)"), PICK, prediction, "(C)") is True


@pytest.mark.parametrize(("own", "turned"), [("2→1→3", "1→3→2"), ("3→1→2", "2→3→1")])
def test_an_order_is_written_anew(own, turned):
    for ranking in itertools.permutations("123"):
        same = list(ranking) == turned.split("→")
        for joint in ("→", ", ", r" \rightarrow ", "->"):
            assert under_turned(ordering, ORDERING, own, joint.join(ranking)) is same
            assert under_turned(ordering, ORDERING, own.replace("→", joint), turned) is True


@pytest.mark.parametrize("prediction", ["banana", "1→2", "1→1→2", "0→1→2", "2→3→4", "2", "A", "→"])
def test_what_is_no_order_of_all_images_is_inconsistent_even_when_repeated(prediction):
    assert under_turned(ordering, ORDERING, prediction, prediction) is False
    shown = example(ordering.question + " Write 1→2→3.", answer="2→1→3")
    assert under_turned(shown, ORDERING, prediction, prediction) is False


def test_an_order_of_some_of_the_images_is_no_answer():
    assert under_turned(ordering, ORDERING, "1→2→3", "3→1→2") is True
    assert under_turned(ordering, ORDERING, "1→2", "3→1") is False


@pytest.mark.parametrize(
    ("own", "turned"),
    [("the second image", "the first image"), ("Image 3", "image 2"), ("1", "3"), ("last", "2")],
)
def test_a_reference_names_the_same_image(own, turned):
    # "last" has no word of its own for the middle: it cannot be permuted with certainty.
    assert under_turned(reference, REFERENCE, own, turned) is (own != "last")
    assert under_turned(reference, REFERENCE, own, own) is False


def test_a_reference_to_no_image_is_inconsistent():
    assert under_turned(reference, REFERENCE, "4", "4") is False


def test_an_answer_that_no_order_changes_must_be_repeated():
    assert under_turned(claim, SAME, "B", "(B)") is True
    assert under_turned(claim, SAME, "B", "A") is False
    assert under_turned(words, SAME, "a cat", r"\text{A cat}") is True
    assert under_turned(words, SAME, "a dog", "a dog") is True
    assert under_turned(words, SAME, "a dog", "a cat") is False
    assert under_turned(words, SAME, "0.50", "1/2") is True
    assert under_turned(words, SAME, "x+y", "y+x") is False  # only mathematics could tell


def test_a_letter_of_no_option_is_inconsistent_even_when_repeated():
    for own, rule in ((claim, SAME), (pick(), PICK)):
        assert under_turned(own, rule, "D", "D") is False
        assert under_turned(own, rule, "cat", "cat") is False


def test_letters_that_the_rule_names_are_answers_too():
    unlisted = Rule(movable=(1, 2), answer="remap_letter", fixed_letters=("E",))
    listed = Rule(movable="option_images", answer="remap_letter", fixed_letters=("E",))
    for own, rule in (
        (example("<image> Options: <image> <image>"), unlisted),
        (example("<image>\nA. <image>\nB. <image>"), listed),
    ):
        for answers, consistent in (("EE", True), ("AB", True), ("AE", False), ("DD", False)):
            assert is_consistent(own, rule, [OWN, (0, 2, 1)], list(answers)) is consistent


@pytest.mark.parametrize("options", [("(A) Image 1", "(B) Image 2"), ("Image 1.", "Image 2.")])
def test_options_may_be_answered_in_full(options):
    own = example("<image><image>Which?", "xy", options[0], options)
    both = [(0, 1), (1, 0)]
    assert is_consistent(own, PICK, both, [options[1], options[0]]) is True
    assert is_consistent(own, PICK, both, [options[1], options[1]]) is False


def test_a_missing_answer_under_any_order_is_inconsistent():
    assert under_turned(pick(), PICK, None, "C") is False
    assert under_turned(pick(), PICK, "A", None) is False
    for own, rule in ((pick(), PICK), (ordering, ORDERING), (words, SAME)):
        assert under_turned(own, rule, None, None) is False


def test_all_orders_count():
    expected = [permute(pick(), order, PICK).answer for order in ALL]
    assert is_consistent(pick(), PICK, ALL, expected) is True
    for k in range(6):
        for wrong in set("ABC") - {expected[k]}:
            assert is_consistent(pick(), PICK, ALL, [*expected[:k], wrong, *expected[k + 1 :]]) is (
                False
            )


def test_equal_pictures_are_told_apart_by_their_slots():
    # B and C show the same: the answer B may follow its slot, whichever of the two that is.
    assert under_turned(pick("xyy"), PICK, "B", "A") is True
    assert under_turned(pick("xyy"), PICK, "B", "B") is False


def test_one_order_alone_says_nothing():
    assert is_consistent(pick(), PICK, [OWN], ["A"]) is None
    assert is_consistent(pick(), PICK, [OWN], [None]) is None


def test_orders_without_the_own_one_or_answers_that_do_not_match_them_are_errors():
    with pytest.raises(ValueError, match="own order first"):
        is_consistent(pick(), PICK, [TURNED, OWN], ["A", "A"])
    with pytest.raises(ValueError, match="one for each of 2 orders; got 1"):
        is_consistent(pick(), PICK, [OWN, TURNED], ["A"])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.text(max_size=2000),
        st.text("ABC123→<image>,. (){}\\first secondlast", max_size=2000),
    )
)
def test_no_text_of_a_policy_is_an_error(text):
    """A hostile answer is at most inconsistent."""
    for own, rule in (
        (pick(), PICK), (ordering, ORDERING), (reference, REFERENCE), (claim, SAME), (words, SAME),
    ):  # fmt: skip
        assert under_turned(own, rule, text, text) in (True, False)
        assert under_turned(own, rule, own.answer, text) in (True, False)


def test_a_text_is_read_only_up_to_twice_the_length_of_the_truth():
    for length, consistent in ((200, True), (201, False)):
        assert under_turned(words, SAME, "x" * length, "x" * length) is consistent
    long = example(words.question, answer="word " * 50)
    for length, consistent in ((500, True), (501, False)):
        assert under_turned(long, SAME, "x" * length, "x" * length) is consistent


def test_the_own_order_comes_first_then_all_others_if_there_are_no_more():
    for asked in (5, 6, 100):
        found = orders_of(pick(), PICK, asked, seed=0)
        assert found[0] == (OWN, pick())
        assert sorted(order for order, _ in found) == ALL
        for order, shown in found:
            assert shown == permute(pick(), order, PICK)
            assert "".join(shown.images) == "".join("xyz"[slot] for slot in order)


def test_fewer_orders_are_drawn_by_the_seed_and_the_id():
    def drawn(seed, id="x"):
        return [order for order, _ in orders_of(pick("wxyz", id=id), PICK, 3, seed)]

    assert len(drawn(0)) == len(set(drawn(0))) == 4
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0) != drawn(0, "y")


def test_an_image_that_the_rule_fixes_stays():
    own = example("Reference: <image> Which is it?\nA. <image>\nB. <image>", "rab", "A")
    assert [order for order, _ in orders_of(own, PICK, 9, 0)] == [(0, 1, 2), (0, 2, 1)]


def test_an_example_that_cannot_be_permuted_has_its_own_order_alone():
    for own, rule in (
        (words, Rule(movable="none")),
        (example("<image>Cat?", "x", "yes"), SAME),
        (example("<image><image>What comes next?", "xy", "a cat"), SAME),
    ):
        found = orders_of(own, rule, 5, 0)
        assert found == [(tuple(range(len(own.images))), own)]


def test_an_order_under_which_the_text_has_no_words_is_left_out():
    # The leading image has a word for its place only while it stays there.
    own = example("<image><image><image>The leading image shows a cat.", answer="True")
    assert [order for order, _ in orders_of(own, SAME, 5, 0)] == [(0, 1, 2), (0, 2, 1)]


# --- an oracle that looks at the images, whatever order they stand in --------------------------


def random_example(rng, kind, number):
    """A question about the numbers that the images are; the reference of ``match`` is first."""
    digits = rng.sample(range(10), rng.randint(2, 4))
    if kind == "match":
        digits = [rng.choice(digits), *digits]
    lettered = digits[1:] if kind == "match" else digits
    shown = "<image>" * len(digits)
    listed = "".join(f"\n{letter}. <image>" for letter, _ in zip("ABCD", lettered, strict=False))
    one, other = rng.sample(["first", "second"], 2)
    question = {
        "position": f"{shown}The {one} image is larger than the {other} image.\nA. True\nB. False",
        "property": f"Which image is the largest?{listed}",
        "match": f"Reference: <image>\nWhich image shows the same?{listed}",
        "order": f"{shown}Put the images in order from the smallest to the largest.",
        "name": f"{shown}Which image is the largest?",
    }[kind]
    own = Example(f"{kind}-{number}", kind, question, tuple(digits), "?")
    return Example(own.id, kind, question, own.images, by_content(own))


def by_content(shown):
    digits = list(shown.images)
    match shown.source:
        case "position":
            places = ("first", "second", "third", "fourth")
            found = [word for word in shown.question.replace(".", " ").split() if word in places]
            one, other = (digits[places.index(word)] for word in found)
            return "A" if one > other else "B"
        case "property":
            return "ABCD"[digits.index(max(digits))]
        case "match":
            return "ABCD"[digits[1:].index(digits[0])]
        case "order":
            return "→".join(str(digits.index(digit) + 1) for digit in sorted(digits))
        case "name":
            return f"image {digits.index(max(digits)) + 1}"


def against_content(shown):
    """As steady as the oracle, and always wrong."""
    digits = list(shown.images)
    match shown.source:
        case "position":
            return "B" if by_content(shown) == "A" else "A"
        case "property":
            return "ABCD"[digits.index(min(digits))]
        case "match":
            rest = [digit for digit in digits[1:] if digit != digits[0]]
            return "ABCD"[digits[1:].index(max(rest))]
        case "order":
            return "→".join(str(digits.index(digit) + 1) for digit in sorted(digits)[::-1])
        case "name":
            return f"image {digits.index(min(digits)) + 1}"


RULES = {"position": SAME, "property": PICK, "match": PICK, "order": ORDERING, "name": SAME}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("policy", [by_content, against_content])
def test_a_policy_that_answers_by_content_is_always_consistent(kind, policy):
    rng = random.Random(kind)
    for number in range(60):
        own = random_example(rng, kind, number)
        orders, shown = zip(*orders_of(own, RULES[kind], 5, seed=number), strict=True)
        assert len(orders) > 1
        assert [one.answer for one in shown] == [by_content(one) for one in shown]
        predictions = [policy(one) for one in shown]
        assert is_consistent(own, RULES[kind], orders, predictions) is True
        assert (predictions[0] == own.answer) is (policy is by_content)


def test_the_same_letter_always_is_consistent_where_the_first_image_never_moves():
    counts = {True: 0, False: 0}
    for number in range(200):
        own = pick(id=str(number))
        orders = [order for order, _ in orders_of(own, PICK, 1, seed=0)]
        consistent = is_consistent(own, PICK, orders, ["A", "A"])
        assert consistent is (orders[1] == (0, 2, 1))  # one of the five others
        counts[consistent] += 1
        assert is_consistent(claim, SAME, orders, ["A", "A"]) is True
    assert 20 <= counts[True] <= 60


def test_the_same_letter_always_is_never_consistent_over_all_orders():
    orders = [order for order, _ in orders_of(pick(), PICK, 5, seed=0)]
    for letter in "ABC":
        assert is_consistent(pick(), PICK, orders, [letter] * 6) is False
