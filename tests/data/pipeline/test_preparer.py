"""Preparation: what a step needs of a row, or a reason why the row cannot be used."""

import io
import pickle
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from perl_jax.data import BadRow, ParquetSource, Preparer
from perl_jax.data.pipeline.rows import RowReader
from perl_jax.permutation import CannotPermute, Rule, permute
from perl_jax.processing import load_processor
from perl_jax.types import Example, Group, Turn, prompt_of
from tests.data.sources.parquet_files import digit_png, verl_row, write_verl
from tests.processing.image_files import chunk, encode, noise, png


@pytest.fixture(scope="module")
def prepare(processor):
    return Preparer(processor, max_prompt_tokens=4000)


def example(images=None, question="<image><image> Which digit is larger?", answer="A", **more):
    images = (digit_png(0), digit_png(1)) if images is None else images
    return Example("row-1", "digits", question, tuple(images), answer, **more)


def refused(prepare, row):
    with pytest.raises(BadRow) as caught:
        prepare(row)
    assert caught.value.row == "row-1"
    return caught.value


def test_prepared_images_are_what_the_processor_makes_of_them(prepare, processor):
    row = example(metadata={"level": 3}, options=("1", "2"))
    prepared = prepare(row)
    for image, given in zip(prepared.images, row.images, strict=True):
        expected = processor.preprocess(given)
        assert image.grid == expected.grid
        np.testing.assert_array_equal(image.patches, expected.patches)
    assert prepared == Example(**{**vars(row), "images": prepared.images})
    assert row.images == (digit_png(0), digit_png(1))


def test_a_prepared_example_is_encoded_like_the_given_one(prepare, processor):
    row = example()
    np.testing.assert_array_equal(
        processor.encode(row.question, prepare(row).images).tokens,
        processor.encode(row.question, row.images).tokens,
    )


def test_images_that_are_alike_become_one_object(prepare, processor):
    palette = Image.open(io.BytesIO(digit_png(0))).convert("P")
    images = [digit_png(0), digit_png(1), bytes(bytearray(digit_png(0))), encode(palette)]
    prepared = prepare(example(images, "<image><image><image><image>"))
    first, second, third, fourth = prepared.images
    assert first is third is fourth
    assert first is not second
    group = Group.of("row-1", [processor.encode(prepared.question, prepared.images)])
    assert (len(group.images), group.slots) == (2, ((0, 1, 0, 0),))


@pytest.mark.reliability("23")
def test_permutation_still_sees_that_two_options_show_one_picture(prepare):
    rule = Rule(movable="all", answer="remap_letter", text="keep")
    question = "Which is a 0?\nA. <image>\nB. <image>"
    twins = prepare(example([digit_png(0), digit_png(0)], question))
    with pytest.raises(CannotPermute, match="duplicate_images"):
        permute(twins, (1, 0), rule)
    others = prepare(example([digit_png(0), digit_png(1)], question))
    assert permute(others, (1, 0), rule).answer == "B"


def test_one_image_shown_twice_is_one_image(prepare):
    prepared = prepare(example([digit_png(0)], "<image 1> and again <image 1>"))
    assert len(prepared.images) == 1


@pytest.mark.reliability("2")
def test_a_row_without_images_is_prepared(prepare):
    assert prepare(example([], "1 + 1?")).images == ()


@pytest.mark.reliability("7", "8")
def test_a_prompt_of_exactly_the_longest_length_is_used_and_a_longer_one_is_not(processor):
    row = example()
    length = len(processor.encode(row.question, row.images).tokens)
    Preparer(processor, max_prompt_tokens=length)(row)
    error = refused(Preparer(processor, max_prompt_tokens=length - 1), row)
    assert error.reason == "too_long"
    assert error.message == f"{length} tokens; at most {length - 1} are read"


def test_options_are_part_of_the_prompt(processor):
    plain, with_options = example(), example(options=("(A) the first", "(B) the second"))
    length = len(processor.encode(plain.question, plain.images).tokens)
    prepare = Preparer(processor, max_prompt_tokens=length)
    prepare(plain)
    assert refused(prepare, with_options).reason == "too_long"


@pytest.mark.reliability("3", "4", "5", "14")
@pytest.mark.parametrize(
    ("question", "reason", "message"),
    [
        (
            "<image> What is it?",
            "image_count",
            "1 image placeholders for 2 images; write <image> where an image is shown, or set "
            "columns.prepend_missing_images",
        ),
        ("What are they?", "image_count", "0 image placeholders for 2 images; write <image>"),
        (
            "<image><image><image>?",
            "image_count",
            "3 image placeholders for 2 images; each placeholder shows one image of the row",
        ),
        ("<image 1> <image 3>", "bad_prompt", "'<image 3>' asks for an image that is not there"),
        ("<image 1> <image 1>", "bad_prompt", "no placeholder shows image 2"),
        ("<image><image> <|image_pad|>", "bad_prompt", "special token '<|image_pad|>'"),
        ("<image><image> A<|im_end|>", "bad_prompt", "special token '<|im_end|>'"),
        ("<image><image> nothing\0", "bad_prompt", "a NUL"),
        ("<image><image> half \ud800", "bad_prompt", "a lone surrogate"),
    ],
)
def test_a_bad_prompt_says_what_is_wrong(prepare, question, reason, message):
    error = refused(prepare, example(question=question))
    assert error.reason == reason
    assert message in error.message


def test_placeholders_of_earlier_turns_count_and_those_of_answers_do_not(prepare, processor):
    turns = (Turn("system", "Look."), Turn("user", "<image>?"), Turn("assistant", "One <image>."))
    row = example(question="<image> And?", turns=turns)
    assert prepare(row).turns == turns
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    expected = processor.encode(
        [*messages, {"role": "user", "content": "<image> And?"}], row.images
    )
    shown = prepare(row)
    encoded = processor.encode(prompt_of(shown), shown.images)
    np.testing.assert_array_equal(encoded.tokens, expected.tokens)


def test_a_reason_names_where_the_row_stands_and_its_id(prepare):
    with pytest.raises(BadRow) as caught:
        prepare(example(question="No image?", place="train.parquet:17"))
    assert str(caught.value).startswith("train.parquet:17 (row-1): image_count: 0 image pl")
    reader = RowReader([example(question="No image?", place="train.parquet:17")], prepare)
    skipped = reader(0)
    assert (skipped.row, skipped.row_id) == ("train.parquet:17", "row-1")
    assert str(skipped).startswith("train.parquet:17 (row-1): 0 image placeholders")


def test_rows_without_any_image_are_told_to_name_the_column(prepare):
    error = refused(prepare, example((), "<image>?"))
    assert error.message.endswith("the row has none: name their column in columns.images")


@pytest.mark.reliability("6")
def test_an_empty_prompt_is_refused(prepare):
    assert refused(prepare, example([], "  ")).reason == "bad_prompt"


@pytest.mark.reliability("20")
def test_a_hundred_megabytes_of_text_are_refused_before_they_are_tokenised(prepare, monkeypatch):
    monkeypatch.setattr(
        type(prepare.processor), "encode", lambda *args: pytest.fail("was tokenised")
    )
    error = refused(prepare, example(question="<image><image>" + "a" * 10**8))
    assert (error.reason, error.message) == ("too_long", "100000014 characters of text")


BOMB = zlib.compress(bytes(50_000_000))


@pytest.mark.reliability("25", "26", "27", "28", "29", "30", "31", "32", "33")
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "0 bytes"),
        (b"<!doctype html><html>404</html>", "not a JPEG, PNG, WEBP or BMP image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a JPEG"),
        (encode(noise(), "JPEG")[:900], "truncated"),
        (encode(noise(), "PNG")[:900], "PNG that is cut off within its chunk IDAT"),
        (digit_png(0)[:-20] + bytes(8) + digit_png(0)[-12:], "PNG with a damaged chunk IDAT"),
        (png(13000, 13000, 8, 0, bytes(1000)), "megapixels"),
        (png(20000, 20000, 8, 0, bytes(1000)), "megapixels|bomb"),
        (png(1, 1, 8, 0, b"\0\0", chunk(b"zTXt", b"k\0\0" + BOMB)), "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
        (encode(noise(), "TIFF"), "not a JPEG"),
        (encode(noise(), "GIF"), "not a JPEG"),
        (encode(Image.new("RGB", (30000, 1)), "PNG"), "more than 200 times the other"),
    ],
)
def test_an_image_that_cannot_be_read_is_a_fault_of_its_row(prepare, image, message):
    error = refused(prepare, example([digit_png(0), image]))
    assert error.reason == "bad_image"
    assert error.message.startswith("image 2: ")
    assert any(part in error.message for part in message.split("|"))


@pytest.mark.reliability("34", "35", "37", "38")
@pytest.mark.parametrize(
    "image",
    [
        encode(Image.new("RGB", (1, 1))),
        encode(Image.new("RGBA", (30, 30))),
        encode(Image.new("CMYK", (30, 30)), "JPEG"),
        encode(Image.fromarray(np.full((30, 30), 60000, np.uint16))),
    ],
)
def test_unusual_images_are_read(prepare, image):
    assert prepare(example([digit_png(0), image])).images[1].patches.dtype == np.float32


@pytest.mark.reliability("45")
def test_pixels_are_counted_after_resizing_and_once_for_each_image(checkpoint):
    # Squares of 28 pixels become squares of 56, the least that this processor makes of them.
    processor = load_processor(checkpoint, min_pixels=56 * 56, max_pixels=10**6)
    images = [digit_png(n) for n in (0, 1, 0)]
    question = "<image><image><image>"
    Preparer(processor, max_prompt_tokens=4000, max_pixels_total=2 * 56**2)(
        example(images, question)
    )
    tight = Preparer(processor, max_prompt_tokens=4000, max_pixels_total=2 * 56**2 - 1)
    error = refused(tight, example(images, question))
    assert error.reason == "too_many_pixels"
    assert error.message == "6272 pixels by image 2 of 3; at most 6271 are read"


@pytest.mark.reliability("45")
def test_images_after_the_budget_are_not_decoded(processor, monkeypatch):
    seen = []
    original = type(processor).preprocess

    def noted(self, image, *, name, known=()):
        seen.append(name)
        return original(self, image, name=name, known=known)

    monkeypatch.setattr(type(processor), "preprocess", noted)
    prepare = Preparer(processor, max_prompt_tokens=10**6, max_pixels_total=5000)
    many = example([digit_png(n) for n in range(40)], "<image>" * 40)
    assert refused(prepare, many).reason == "too_many_pixels"
    assert len(seen) < 10


@pytest.mark.reliability("12")
@pytest.mark.parametrize(
    ("question", "options", "answer", "usable"),
    [
        ("Which?\n(A) <image>\n(B) <image>", (), "B", True),
        ("Which?\n(A) <image>\n(B) <image>", (), "C", False),
        ("Which?\n(A) <image>\n(B) <image>", (), "(D).", False),
        ("Which?\n(A) <image>\n(B) <image>\nAnswer E if none is right.", (), "E", True),
        ("Which? <image><image>", ("one", "two", "three"), "C", True),
        ("Which? <image><image>", ("one", "two", "three"), "D", False),
        ("Which letter is shown in <image> and <image>?", (), "Q", True),
        ("Which?\n(A) <image>\n(B) <image>", (), "left", True),
    ],
)
def test_a_letter_must_be_one_of_the_options(prepare, question, options, answer, usable):
    row = example(question=question, options=options, answer=answer)
    if usable:
        prepare(row)
    else:
        assert refused(prepare, row).reason == "letter_outside_options"


def test_a_fault_of_the_model_directory_is_not_one_of_the_row(processor):
    template = replace(processor.chat_template, text="{{ raise_exception('broken') }}")
    broken = Preparer(replace(processor, chat_template=template), max_prompt_tokens=4000)
    with pytest.raises(
        ValueError,
        match="the chat template cannot take images: it fails on them: TemplateError: broken",
    ) as caught:
        broken(example())
    assert not isinstance(caught.value, BadRow)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_prompt_tokens", 0), ("max_prompt_tokens", None), ("max_pixels_total", -1),
     ("max_pixels_total", 2.5), ("max_prompt_tokens", True)],
)  # fmt: skip
def test_settings_out_of_range_are_named(processor, name, value):
    settings = {"max_prompt_tokens": 100, name: value}
    with pytest.raises(ValueError, match=rf"{name}: expected a positive integer; got {value}"):
        Preparer(processor, **settings)


def test_a_preparer_survives_pickling(prepare):
    copy = pickle.loads(pickle.dumps(prepare))
    for image, other in zip(copy(example()).images, prepare(example()).images, strict=True):
        np.testing.assert_array_equal(image.patches, other.patches)


def test_pickling_keeps_one_image_shown_twice_one_object(prepare):
    prepared = prepare(example([digit_png(0), digit_png(0)]))
    copy = pickle.loads(pickle.dumps(prepared))
    assert copy.images[0] is copy.images[1]


def test_rows_of_a_parquet_file_go_all_the_way(tmp_path, prepare):
    source = ParquetSource(write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(3)]))
    assert [prepare(source[n]).images[1].grid for n in range(3)] == [(4, 4)] * 3
