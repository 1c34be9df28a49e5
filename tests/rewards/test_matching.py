"""Tables of answers and truths, decided by strings alone."""

import pytest

from perl_jax.rewards.matching import match
from perl_jax.rewards.numeric import Tolerance, read_number

EXACT = Tolerance()

EQUAL = [
    # option letters
    ("B", "B", "exact"), ("(B)", "B", "letter"), ("B.", "B", "letter"), ("b", "B", "letter"),
    (r"\text{B}", "B", "letter"), (r"\textbf{(B)}", "B", "letter"), ("$B$", "B", "letter"),
    (r"\text{B}.", "(B)", "letter"), ("**B**", "B", "letter"), ("（B）", "B", "letter"),
    ("B. the left image", "B", "letter"), ("(B) Image 3", "B", "letter"), ("B: cat", "B", "letter"),
    # numbers, exactly
    ("0.5", r"\frac{1}{2}", "number"), ("1/2", "0.50", "number"), (r"\dfrac12", ".5", "number"),
    ("1,234", "1234", "number"), (r"10\,000", "10000", "number"), ("1{,}234.5", "1234.5", "number"),
    ("1e5", "100000", "number"), (r"1.2 \times 10^{3}", "1200", "number"), ("+5", "5.0", "number"),
    (r"-\frac{1}{2}", "-0.5", "number"), (r"1\frac{1}{2}", "1.5", "number"),
    ("1 1/2", "3/2", "number"), ("(5)", "5", "number"), ("−3", "-3", "number"),
    (r"\(7\)", "7", "number"), ("007", "7", "number"), (r"\$5", "5", "number"),
    # percent: as a value, or as a bare percentage
    (r"50\%", "0.5", "number"), ("50%", "50", "number"), ("0.5", "50%", "number"),
    ("50", r"50\%", "number"), ("50%", "50 %", "number"),
    # units: one may be left out
    (r"5 \text{ cm}", "5", "number"), ("5", "5 cm", "number"), (r"30^\circ", "30", "number"),
    ("30°", "30 degrees", "number"), (r"12\text{ cm}^2", "12", "number"),
    ("5 apples", r"5\text{ apples}", "text"), ("5m", "5", "number"), ("x=5", "5", "number"),
    # digits of other scripts are the same numbers
    ("１２", "12", "number"), ("٥", "5", "number"), ("३/४", "0.75", "number"),
    # lists and orders
    ("2, 1, 3, 4", "2→1→3→4", "list"), ("[2,1,3,4]", "2→1→3→4", "list"),
    ("2→1→3→4", "[2, 1, 3, 4]", "list"), (r"2 \to 1 \rightarrow 3", "2->1->3", "list"),
    ("2 -> 1 -> 3", "2,1,3", "list"), ("(2, 1, 3)", "[2,1,3]", "list"),
    ("(1, 0.5)", r"\left(1, \frac{1}{2}\right)", "list"), ("(a), (c)", "A, C", "list"),
    ("[100,200,300]", "100→200→300", "list"), (r"\{2, 1\}", r"\{1, 2\}", "list"),
    ("1, 2", r"\{2, 1\}", "list"), ("(1,2),(3,4)", "(1, 2), (3, 4)", "list"),
    ("[1, 2)", "[1,2)", "list"), ("red and blue", "Red, blue", "list"), ("1、2", "1,2", "list"),
    # words
    ("yes.", "Yes", "text"), ("The  Left image", "the left image", "text"),
    (r"\text{Image 3}", "image 3", "text"), ("**True**", "True", "text"), ("no", "No", "text"),
    # the same mathematics in other spacing
    ("x + 1", "x+1", "text"), (r"\dfrac{x}{2}", r"\frac{x}{2}", "text"),
]  # fmt: skip

DIFFERENT = [
    ("C", "B", "letter"), ("Banana", "B", "letter"), ("BC", "B", "letter"),
    ("A or B", "B", "letter"),
    ("A, B", "B", "letter"), ("not B", "B", "letter"), ("8", "B", "letter"), ("B C", "B", "letter"),
    ("0.333333", r"\frac{1}{3}", "number"), ("5", "-5", "number"), ("12", "1.2", "number"),
    ("0.05", "50%", "number"), ("5 cm", "5 mm", "number"), (r"5\text{ cm}^2", "5 cm", "number"),
    ("1 2", "12", "text-or-symbolic"), ("1, 2, 3", "3, 2, 1", "list"),
    ("2→1→3→4", "1→2→3→4", "list"), ("[2,1,3]", "[2,1,3,4]", "list"), ("(1,2)", "[1,2]", "list"),
    ("(1,2]", "(1,2)", "list"), (r"\{1,2\}", r"\{1,3\}", "list"), (r"\{1,1\}", r"\{1,2\}", "list"),
    ("5, 100", "5,000", "text-or-symbolic"),
    ("silent", "listen", "text"), ("Image 2", "Image 3", "text"), ("yes", "no", "text"),
    ("__import__('os').system('true')", "5", "text"), ("tent", "10", "text"),
]  # fmt: skip

SYMBOLIC = [
    ("x+1", "1+x", (("x+1", "1+x"),)),
    ("2**3", "8", (("2^3", "8"),)),
    ("sqrt(3)", r"\sqrt{3}", ((r"\sqrt{3}", r"\sqrt{3}"),)),
    (r"x=\sqrt{25}", "5", ((r"\sqrt{25}", "5"),)),
    (r"(\sqrt{2}, 1)", r"(\frac{2}{\sqrt{2}}, 1)", ((r"\sqrt{2}", r"\frac{2}{\sqrt{2}}"),)),
    ("5x", "5", (("5x", "5"),)),
]


@pytest.mark.reliability("83")
@pytest.mark.parametrize(("answer", "truth", "how"), EQUAL)
def test_equal_answers_are_recognised(answer, truth, how):
    found = match(answer, truth, EXACT)
    assert found.equal is True, found
    assert found.how == how


@pytest.mark.parametrize(("answer", "truth", "how"), DIFFERENT)
def test_different_answers_are_told_apart(answer, truth, how):
    found = match(answer, truth, EXACT)
    if how == "text-or-symbolic":
        assert not found.equal
    else:
        assert found.equal is False, found
        assert found.how == how


@pytest.mark.parametrize(("answer", "truth", "pairs"), SYMBOLIC)
def test_only_expressions_are_left_to_symbolic_mathematics(answer, truth, pairs):
    found = match(answer, truth, EXACT)
    assert found.equal is None
    assert found.pairs == pairs


@pytest.mark.parametrize(
    ("answer", "truth", "tolerance", "equal"),
    [
        ("3.14", "3.1416", Tolerance(absolute=0.01), True),
        ("3.12", "3.1416", Tolerance(absolute=0.01), False),
        ("97", "100", Tolerance(relative=0.03), True),
        ("96.9", "100", Tolerance(relative=0.03), False),
        ("-97", "-100", Tolerance(relative=0.03), True),
        ("[97, 3]", "[100, 3]", Tolerance(relative=0.03), True),
        ("51%", "0.5", Tolerance(absolute=0.02), True),
    ],
)
def test_a_tolerance_is_absolute_or_relative_to_the_true_number(answer, truth, tolerance, equal):
    assert match(answer, truth, tolerance).equal is equal


def test_numbers_of_any_size_are_read_without_being_computed():
    assert read_number("1e999999999") is None
    assert read_number("10^{999999999}") is None
    assert read_number("9" * 2000).value == 10**2000 - 1
    assert read_number("1/0") is None


LONG = [
    "(" * 1000 + ")" * 1000, "1," * 900, "[" * 999 + "," * 999, " " * 1999 + "1", "a " * 999,
    r"\text{" * 300, "√" * 2000, "1 " * 999, "-" * 2000, "$" * 2000, "{" * 999 + "}" * 999,
    "A. " * 660, "0." + "12" * 990 + "...", "one hundred " * 160, "x < 1 or " * 220, "H2" * 990,
    r"\pm" * 600, "1:" * 990, "5 ft 2 in " * 190, "a, b = " * 280, "Total: " * 280, "½" * 1990,
    r"\{x \mid x>" * 160, "yes, they are " * 140, "C (a" * 490, r"\{\begin{array}{c}" * 90,
    "<" + "a," * 990 + ">", "sqrt(" * 400,
    "*" * 2000, "." * 2000, "1" * 2000 + "x", r"\frac" * 400, "(1," * 600,
]  # fmt: skip


@pytest.mark.parametrize("text", LONG)
def test_no_text_makes_matching_slow(text):
    # Quadratic work on two thousand characters takes milliseconds; exponential work would not end.
    for truth in ("B", "5", "[1, 2]", "x+1", "the left image"):
        assert match(text, truth, EXACT).equal is not True
    match(text, text + "x", EXACT)


def test_an_option_whose_text_is_an_option_and_so_on_is_compared_once():
    assert match("B", ("A. " * 660).strip(), EXACT).equal is False
    assert match("C. red", "A. B. red", EXACT).equal is False
