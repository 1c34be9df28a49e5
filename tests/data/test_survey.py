"""A survey measures rows as they will be prepared, without decoding them, and alike everywhere."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from perl_jax.data.pipeline.mixture import Mixture, Part
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.source import BadRow
from perl_jax.data.survey import chosen_rows, first_of_every_source, row_name, survey
from perl_jax.processing import load_rgb
from perl_jax.processing.decode import image_size
from perl_jax.types import Example, prompt_text


@pytest.fixture(scope="module")
def prepare(processor):
    return Preparer(processor, max_prompt_tokens=400)


def alone(example):
    return (example,)


class Rows(list):
    def __getitem__(self, index):
        found = super().__getitem__(index)
        if isinstance(found, Exception):
            raise found
        return found

    def fingerprint(self):
        return "rows"


def png(width, height, orientation=None):
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (width, height), (width % 256, 9, 9)).save(file, "PNG", exif=exif)
    return file.getvalue()


def example(number, images, text="<image>"):
    return Example(str(number), "mine", f"{text * len(images)} what?", tuple(images), "A")


def test_sizes_are_those_of_the_prepared_rows(prepare):
    rows = Rows(
        [
            example(0, [png(60, 90), png(200, 100)]),
            example(1, [png(100, 40, orientation=6)]),
            example(2, [png(64, 64), png(64, 64)]),
            example(3, []),
        ]
    )
    for found in survey(rows, prepare, alone, count=8):
        whole = prepare(rows[found.number])
        prompt = prepare.processor.encode(prompt_text(whole), whole.images)
        distinct = {image.key: image.num_patches for image in prompt.images}
        assert found.prompts == (len(prompt.tokens),)
        assert sorted(found.images) == sorted(distinct.values())
        assert found.patches == sum(distinct.values())


def test_every_order_is_measured(prepare):
    def twice(one):
        return (one, replace(one, question=one.question + " really?"))

    (found,) = survey(Rows([example(0, [png(60, 90)])]), prepare, twice, count=1)
    assert found.prompts[1] > found.prompts[0]


def test_bad_rows_and_too_long_ones_are_left_out(prepare):
    rows = Rows(
        [
            BadRow("bad_answer", "0", "no answer"),
            KeyError("a column that the source forgot"),
            example(2, [b"no image"]),
            example(3, [png(60, 60)], text=""),
            example(4, [png(60, 60)]),
            Example("5", "mine", "word " * 500, (), "A"),
        ]
    )
    assert [found.number for found in survey(rows, prepare, alone, count=8)] == [4]


def test_filters_by_the_prompts_length_count(prepare):
    part = Part("a", Rows([example(0, [png(60, 60)])]), filters=RowFilter(max_prompt_tokens=3))
    assert survey(Mixture([part]), prepare, alone, count=8) == []


def test_rows_are_the_same_every_time_and_neighbours():
    source = DigitsConfig(rows=1000).open()
    numbers = [number for number, _ in chosen_rows(source, 64)]
    assert numbers == [number for number, _ in chosen_rows(source, 64)]
    assert len(numbers) == 64
    assert numbers != list(range(64))
    assert all(number % 8 == 0 or number - 1 in numbers for number in numbers)


def test_a_small_source_is_looked_at_whole():
    assert [n for n, _ in chosen_rows(DigitsConfig(rows=13).open(), 64)] == list(range(13))


def test_parts_of_a_mixture_give_rows_by_weight():
    parts = [Part(str(w), DigitsConfig(rows=400).open(), w) for w in (1, 3)]
    numbers = [number for number, _ in chosen_rows(Mixture(parts), 64)]
    assert sum(number < 400 for number in numbers) == 16
    assert sum(number >= 400 for number in numbers) == 48


def test_only_first_rows_are_looked_at_if_only_they_are_used():
    source = DigitsConfig(rows=1000).open()
    assert max(number for number, _ in chosen_rows(source, 64, first=16)) == 15


def test_rows_without_files_are_named_by_number():
    assert row_name(DigitsConfig(rows=9).open(), 4) == "row 4"
    assert first_of_every_source(DigitsConfig(rows=9).open()) == {}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_tells_the_size_of_the_upright_image(orientation):
    data = png(30, 50, orientation)
    assert image_size(data) == load_rgb(data).shape[:2]
    assert image_size({"bytes": data, "path": None}) == load_rgb(data).shape[:2]


def test_images_in_memory_have_sizes_too():
    assert image_size(np.zeros((4, 7, 3), np.uint8)) == (4, 7)
