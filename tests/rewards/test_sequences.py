"""Lists, orders, sets, matrices and systems, split into their items."""

import pytest

from perl_jax.rewards.sequences import (
    read_block,
    read_items,
    read_letters,
    read_order,
    read_sequence,
)


@pytest.mark.parametrize(
    ("text", "items", "joint", "is_set"),
    [
        ("1, 2", ("1", "2"), "comma", False), ("(1, 2)", ("1", "2"), "comma", False),
        (r"\{1, 2\}", ("1", "2"), "comma", True), ("1 and 2", ("1", "2"), "and", True),
        ("1, 2, and 3", ("1", "2", "3"), "and", True), ("1 & 2", ("1", "2"), "and", True),
        (r"x=1 \text{ or } x=2", ("x=1", "x=2"), "or", True), ("1→2", ("1", "2"), "arrow", False),
        ("[1 and 2]", ("1", "2"), "and", False), ("f(1,2); 3", ("f(1,2)", "3"), "comma", False),
    ],
)  # fmt: skip
def test_a_list_knows_its_items_and_whether_order_counts(text, items, joint, is_set):
    sequence = read_sequence(text)
    assert (sequence.items, sequence.joint, sequence.is_set) == (items, joint, is_set)


@pytest.mark.parametrize("text", ["", "1", "(1)", "(x+1)(x-1)", "1, ", ", 1", "(1, 2", "sand"])
def test_a_single_item_or_a_broken_list_is_none(text):
    assert read_sequence(text) is None


@pytest.mark.parametrize(
    ("text", "items", "is_set"),
    [("AC", ("A", "C"), True), ("(A)(C)", ("A", "C"), True), ("A C", ("A", "C"), True),
     ("CA", ("C", "A"), False)],
)  # fmt: skip
def test_letters_side_by_side_are_a_set_if_they_ascend(text, items, is_set):
    assert (read_letters(text).items, read_letters(text).is_set) == (items, is_set)


@pytest.mark.parametrize("text", ["A", "AA", "AZ", "ab", "A,C", "ABCA", ""])
def test_other_letters_are_no_options(text):
    assert read_letters(text) is None


def test_three_places_with_hyphens_are_an_order():
    assert read_order("2-1 - 3").items == ("2", "1", "3")
    assert read_order("B-A-C").items == ("B", "A", "C")
    for text in ("1-2", "2019-07-04", "1-1-2", "x-y-z", "1-2-x", ""):
        assert read_order(text) is None


def test_a_matrix_is_read_by_rows_and_a_system_by_equations():
    assert read_block(r"\begin{pmatrix} 1 & x \\ 2 & y \end{pmatrix}") == (
        "matrix", (("1", "x"), ("2", "y"))
    )  # fmt: skip
    assert read_block(r"[\begin{array}{cc} 1 & 2 \end{array}]") == ("matrix", (("1", "2"),))
    assert read_block(r"\begin{cases} x=1, \\ y=2 \end{cases}") == ("cases", (("x=1",), ("y=2",)))
    assert read_items(r"\begin{cases} x=1 \\ y=2 \end{cases}") == ("x=1", "y=2")


@pytest.mark.parametrize(
    "text",
    [r"\begin{vmatrix} 1 \end{vmatrix}", r"2\begin{pmatrix} 1 \end{pmatrix}",
     r"\begin{pmatrix} 1 \end{bmatrix}",
     r"\begin{pmatrix} 1 & \end{pmatrix}",
     r"\begin{pmatrix}1\end{pmatrix}+\begin{pmatrix}1\end{pmatrix}"],
)  # fmt: skip
def test_what_is_not_one_whole_matrix_is_none(text):
    assert read_block(text) is None
