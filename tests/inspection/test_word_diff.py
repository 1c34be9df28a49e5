import pytest

from perl_jax.inspection.word_diff import word_diff


def changed(pieces):
    return [piece.text for piece in pieces if piece.changed]


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ("The left image.", "The right image.", ["left"], ["right"]),
        ("Which is it?", "Which is it?", [], []),
        ("1→2→3", "3→1→2", ["1", "2", "3"], ["3", "1", "2"]),
        ("1→2→3", "1→3→2", ["2", "3"], ["3", "2"]),
        ("the second-to-last one", "the last one", ["second-to-last"], ["last"]),
        ("<image 1> is Image 1", "<image 1> is Image 2", ["1"], ["2"]),
        ("images 1 and 2 match", "images 1, 2 match", [" ", "and"], [","]),
        ("", "A", [], ["A"]),
        ("a b c", "a c", ["b", " "], []),
    ],
)
def test_exactly_the_words_that_changed_are_marked(before, after, old, new):
    pieces = word_diff(before, after)
    assert tuple(map(changed, pieces)) == (old, new)


def test_the_pieces_are_the_texts():
    before, after = "<image>\n  The 1st\tone, \u00e9 <b>", "<image><image> The 2nd one - or, <b>"
    for text, pieces in zip((before, after), word_diff(before, after), strict=True):
        assert "".join(piece.text for piece in pieces) == text


def test_placeholders_are_pieces_of_their_own():
    pieces, _ = word_diff("<image><image_2> and <images>", "<image><image_2> or <images>")
    assert [piece.text for piece in pieces if piece.placeholder] == ["<image>", "<image_2>"]


def test_long_texts_are_compared_in_linear_time_up_to_what_changed():
    filler = "word " * 10_000
    before, after = word_diff(f"{filler}images 1 and 2. {filler}", f"{filler}images 1, 2. {filler}")
    assert (changed(before), changed(after)) == ([" ", "and"], [","])
