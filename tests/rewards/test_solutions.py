import pytest

from perl_jax.rewards.sequences import read_sequence
from perl_jax.rewards.solutions import agree, any_order, as_set, common_label, names_in_other_order


@pytest.mark.parametrize(
    ("given", "truth", "fits"),
    [
        ("x = 2 or x = 3", "x = 3 or x = 2", True), ("2 or 3", "2 and 3", False),
        ("x = 1, y = 2", "x = 1 or x = 2", False), ("x_1 = 1, x_2 = 2", "x = 1 or x = 2", True),
        ("x < 1 and x > 3", "x < 1 or x > 3", False), ("(2, 3)", "x = 2 or x = 3", False),
    ],
)  # fmt: skip
def test_lists_agree_by_joints_brackets_and_names(given, truth, fits):
    assert agree(read_sequence(given), read_sequence(truth)) is fits


def test_the_order_counts_unless_items_are_named_or_a_set():
    assert any_order(read_sequence("x = 2, y = 3"), read_sequence("y = 3, x = 2"))
    assert any_order(read_sequence("3, 2"), read_sequence("2 and 3"))
    assert not any_order(read_sequence("3, 2"), read_sequence("2, 3"))


def test_the_names_of_a_points_values_stand_in_alphabetical_order():
    assert names_in_other_order(read_sequence("y = 3, x = 4"), read_sequence("(3, 4)"))
    assert not names_in_other_order(read_sequence("x = 3, y = 4"), read_sequence("(3, 4)"))
    assert not names_in_other_order(read_sequence("width = 3, area = 4"), read_sequence("(3, 4)"))


def test_a_common_label_is_left_out_of_a_set():
    assert common_label(read_sequence("x = 2, x = 3")) == "x"
    assert common_label(read_sequence("x = 2, y = 3")) is None
    assert as_set(read_sequence("x = 2 or x = 3")) == r"\{2,3\}"
    assert as_set(read_sequence("red or blue")) is None
