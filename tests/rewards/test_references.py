"""Which picture some words name."""

import pytest

from perl_jax.rewards.references import Reference, read_reference, same_picture


@pytest.mark.parametrize(
    ("words", "reference"),
    [
        ("image 3", Reference("3", "named")), ("images 3", Reference("3", "named")),
        ("picture #03", Reference("3", "named")), ("photo no. 3", Reference("3", "named")),
        ("figure (3)", Reference("3", "named")), ("#3", Reference("3", "named")),
        ("the third image", Reference("3", "named")), ("3rd one", Reference("3", "named")),
        ("third", Reference("3", "ordinal")), ("3", Reference("3", "bare")),
        ("left image", Reference("left", "place")), ("the centre one", Reference("center",
        "place")),
        ("middle", Reference("center", "place")), ("image on the left", Reference("left", "place")),
        ("top-left image", Reference("top left", "place")), ("on the right", Reference("right",
        "place")),
        ("image 3 or 4", None), ("third or fourth image", None), ("not image 3", None), ("", None),
        ("left and right", None), ("second to last image", None), ("3 images", None),
        ("3333", None),
    ],
)  # fmt: skip
def test_words_that_name_one_picture_are_read(words, reference):
    assert read_reference(words) == reference


@pytest.mark.parametrize(
    ("given", "true", "same"),
    [
        ("3", "image 3", True), ("image 3", "3", True), ("third image", "image 3", True),
        ("third", "third image", True), ("third", "3", False), ("2", "image 3", False),
        ("left", "left image", True), ("right", "left image", False),
    ],
)  # fmt: skip
def test_a_number_alone_names_a_picture_where_the_other_side_has_its_noun(given, true, same):
    assert same_picture(read_reference(given), read_reference(true)) is same
