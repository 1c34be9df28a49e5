"""The table of Weights & Biases, told to a stand-in of the library."""

from PIL import Image

from perl_jax.training.display.wandb_table import COLUMNS, side_by_side, table_of
from tests.training.display.rows import row


class Library:
    """What the table needs of the library: it keeps what it is told."""

    class Table:
        def __init__(self, columns):
            self.columns, self.rows = columns, []

        def add_data(self, *values):
            self.rows.append(dict(zip(self.columns, values, strict=True)))

    class Image:
        def __init__(self, picture):
            self.picture = picture


def pictures(directory):
    Image.new("RGB", (10, 20), "red").save(directory / "aa.jpg")
    Image.new("RGB", (30, 10), "blue").save(directory / "bb.jpg")


def test_every_response_is_a_row_with_its_question_and_the_pictures_in_their_order(tmp_path):
    pictures(tmp_path)
    table = table_of(Library, 7, [row()], tmp_path)
    assert table.columns == list(COLUMNS)
    asked = ("step", "question", "truth", "response")
    assert [tuple(one[name] for name in asked) for one in table.rows] == [
        (7, "<image><image> First?", "A", "A"),
        (7, "<image><image> First?", "A", "é \u2028"),
        (7, "<image><image> Second?", "B", "B"),
        (7, "<image><image> Second?", "B", ""),
    ]
    assert [(one["accuracy"], one["reward"], one["advantage"]) for one in table.rows] == [
        (1.0, 0.9, 0.5), (0.0, 0.0, -1.0), (1.0, 0.9, 0.5), (None, None, None),
    ]  # fmt: skip
    first, second = (table.rows[n]["pictures"].picture for n in (0, 2))
    # In the second order the blue one stands first.
    assert [first.getpixel((1, 1))[0] > 200, second.getpixel((1, 1))[2] > 200] == [True, True]


def test_a_few_groups_are_shown_and_pictures_that_are_not_there_are_left_out(tmp_path):
    table = table_of(Library, 1, [row(n) for n in range(9)], tmp_path)
    assert {one["id"] for one in table.rows} == {f"row-{n}" for n in range(4)}
    assert {one["pictures"] for one in table.rows} == {None}


def test_pictures_stand_side_by_side(tmp_path):
    pictures(tmp_path)
    assert side_by_side([tmp_path / "aa.jpg", tmp_path / "bb.jpg"]).size == (10 + 4 + 30, 20)
    assert side_by_side([tmp_path / "none.jpg"]) is None
