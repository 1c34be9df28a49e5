"""Files of rows may hold anything; a row is read, or refused with a reason."""

import contextlib
import datetime
import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.sources.columns import ColumnsConfig, RowOptions, read_row
from perl_jax.data.sources.image_files import encoded_image
from perl_jax.data.sources.jsonl import JsonlSource
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.data.sources.source import BadRow
from perl_jax.data.sources.tfds_records import from_fields
from perl_jax.permutation import BUILT_IN, CannotPermute, movable_slots, permute, rule_for
from perl_jax.processing import ImageError, load_rgb
from perl_jax.processing.decode import image_size
from perl_jax.types import Example, Turn
from tests.fuzz.fuzzing import JSON, TEXTS, changed, damaged, fuzz, outcome
from tests.processing.image_files import chunk

pytestmark = pytest.mark.fuzz

GOOD = {
    "id": "1",
    "question": "<image><image> Which image shows a cat?",
    "images": ["a.png", {"bytes": None, "path": "b.png"}],
    "options": ["A. the first", "B. the second"],
    "answer": "A",
    "source": "cats",
    "metadata": "{}",
}
COLUMNS = ColumnsConfig(
    "question", "answer", images=("images",), options="options", id=("id",), source="source",
    metadata=("image_root",), metadata_json="metadata",
)  # fmt: skip


def all_rows(source, path):
    """Every row of a source is an example or refused with a reason."""
    for number in range(len(source)):
        documented = (BadRow, OSError)
        example = outcome(lambda n=number: source[n], *documented, where=path.name)
        assert example is None or isinstance(example, Example)


@fuzz(150)
@given(row=changed(GOOD).filter(lambda row: isinstance(row, dict)))
def test_any_row_is_an_example_or_refused(row):
    options = RowOptions(None, "", None)
    outcome(lambda: read_row(COLUMNS, row, "rows:1", "rows", options), BadRow, where="rows:1")


LINE = changed(GOOD).map(lambda row: json.dumps(row).encode())
LINES = LINE | LINE.flatmap(damaged) | st.binary(max_size=40) | st.just(b"[" * 20_000)


@fuzz(60)
@given(lines=st.lists(LINES, min_size=1, max_size=4), ends=st.sampled_from([b"\n", b"\r\n"]))
def test_any_lines_are_rows_or_an_error_of_the_file(tmp_path_factory, lines, ends):
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(ends.join([json.dumps(GOOD).encode(), *lines]))
    source = outcome(lambda: JsonlSource(path), ValueError, where=path.name)
    if source is not None:
        all_rows(source, path)


def parquet(rows=8):
    """The bytes of a parquet file of good rows."""
    names = ("question", "answer", "images", "id")
    images = [{"bytes": b"x", "path": None}]
    columns = {name: [GOOD[name]] * rows for name in names}
    columns |= {"images": [images] * rows, "id": [str(n) for n in range(rows)]}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=4)
    return file.getvalue()


@fuzz(75)
@given(content=damaged(parquet()))
def test_a_damaged_parquet_file_is_rows_or_an_error_that_names_it(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    path.write_bytes(content)
    source = outcome(lambda: ParquetSource(path), ValueError, OSError, where=path.name)
    if source is not None:
        all_rows(source, path)


ARRAYS = st.sampled_from([
    pa.array(["x", None]), pa.array([1, None]), pa.array([float("nan"), 2.0]), pa.array([[], None]),
    pa.array([b"\xff", b""]), pa.array([True, None]), pa.nulls(2), pa.array([["a"], ["b", None]]),
    pa.array([{"bytes": b"x", "path": "../x"}, None]),
    pa.array([[{"bytes": None, "path": ""}], []]),
    pa.array([[{"role": "user", "content": "<image>?"}], []]), pa.array([[[1]], None]),
    pa.array([datetime.date(2020, 1, 1), None]), pa.array(["x", "y"]).dictionary_encode(),
    pa.array([10**30, None], pa.decimal128(38)), pa.array([{"ground_truth": 1}, None]),
])  # fmt: skip
NAMES = ["question", "prompt", "problem", "answer", "images", "data_source", "reward_model", "id",
         "extra_info", "options"]  # fmt: skip


@fuzz(100)
@given(columns=st.dictionaries(st.sampled_from(NAMES), ARRAYS, min_size=1, max_size=6))
def test_parquet_columns_of_any_type_are_rows_or_an_error_of_the_file(tmp_path_factory, columns):
    path = tmp_path_factory.getbasetemp() / "typed.parquet"
    pq.write_table(pa.table(columns), path)
    source = outcome(lambda: ParquetSource(path), ValueError, where=path.name)
    if source is not None:
        all_rows(source, path)


FIELDS = {
    "id": b"1", "source": b"s", "question": b"?", "images": [b"x"], "answer": b"A",
    "options": [b"A. x"],
}  # fmt: skip


@fuzz(75)
@given(
    metadata=st.text(max_size=20)
    | JSON.map(json.dumps)
    | JSON.map(lambda value: json.dumps({"perl_jax.turns": value}))
    | st.just("[" * 20_000)
)
def test_metadata_of_any_record_are_read_or_refused(metadata):
    outcome(lambda: from_fields({**FIELDS, "metadata": metadata}), ValueError)


# Images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    (root / "secret").write_bytes(b"secret")
    inside = root / "inside"
    inside.mkdir()
    (inside / "a.png").write_bytes(b"a picture")
    (inside / "link").symlink_to(root / "secret")
    (inside / "up").symlink_to(root)
    return inside


_PARTS = ["..", ".", "", "a.png", "secret", "link", "up", "inside", "\0", "~", "file:", "http:"]
_PARTS += ["data:image/png;base64", ",AAAA", "/etc/passwd", "%2e%2e", "\\"]
PATHS = st.lists(st.sampled_from(_PARTS) | TEXTS, max_size=5).flatmap(
    lambda parts: st.sampled_from(["/", ""]).map(lambda joint: joint.join(parts))
)


@fuzz(300)
@given(image=PATHS | JSON | st.fixed_dictionaries({"bytes": JSON, "path": PATHS}))
def test_no_name_of_an_image_leads_out_of_its_directory(images, image):
    content = outcome(lambda: encoded_image(image, images, "rows:1"), BadRow, where="rows:1")
    assert content != b"secret"


def encoded(kind, mode="RGB", **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (12, 10, 4), np.uint8)
    Image.fromarray(noise, "RGBA").convert(mode).save(file, kind, **options)
    return file.getvalue()


FILES = [
    encoded("PNG"), encoded("PNG", "RGBA"), encoded("PNG", "P"), encoded("PNG", "1"),
    encoded("JPEG"), encoded("JPEG", "L", progressive=True), encoded("JPEG", "CMYK"),
    encoded("WEBP"), encoded("WEBP", "RGBA", lossless=True), encoded("BMP"), encoded("BMP", "P"),
]  # fmt: skip


@fuzz(350)
@given(data=st.sampled_from(FILES).flatmap(damaged))
def test_a_damaged_image_is_a_picture_or_refused(data):
    rgb = outcome(lambda: load_rgb(data), ImageError)
    assert rgb is None or (rgb.dtype == np.uint8 and rgb.shape[2] == 3)
    outcome(lambda: image_size(data), ImageError)


CHUNKS = st.lists(
    st.tuples(
        st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"PLTE", b"tRNS", b"acTL",
                         b"fcTL", b"gAMA", b"IDAT", b"IHDR", b"sPLT", b"abcd"]),
        st.binary(max_size=40),
    ),
    max_size=4,
)  # fmt: skip


@fuzz(150)
@given(chunks=CHUNKS, before=st.booleans())
def test_a_png_with_any_sound_chunks_is_a_picture_or_refused(chunks, before):
    data = FILES[0]
    place = data.index(b"IDAT") - 4 if before else len(data) - 12
    added = b"".join(chunk(kind, body) for kind, body in chunks)
    outcome(lambda: load_rgb(data[:place] + added + data[place:]), ImageError)


# Permuting

_WORDS = """
    <image> <image> <image1> <image2> Image_1 image 1 Image 2: the first second last left right top
    picture photo figure A B (A) (B) C. both all none neither each other same different which is in
    than and or not 1 2 3 0 [1,0] 2→1 then next before after ? . , : ; "quoted" 图1 第二张 der
    these two images them it one another A-B order sequence
"""
WORDS = _WORDS.split()
SENTENCES = st.lists(st.sampled_from(WORDS) | TEXTS, max_size=16).map(" ".join)
RULES = sorted(BUILT_IN)


@fuzz(200)
@given(
    question=SENTENCES, options=st.lists(SENTENCES, max_size=4), answer=SENTENCES,
    turns=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), SENTENCES), max_size=2),
    source=st.sampled_from(RULES), count=st.integers(1, 4), seed=st.integers(0, 99),
    metadata=st.dictionaries(st.sampled_from(["question_type", "change_needed", "task"]), JSON),
)  # fmt: skip
def test_any_example_is_permuted_or_keeps_its_order(
    question, options, answer, turns, source, count, seed, metadata
):
    images = tuple(bytes([n]) for n in range(count))
    told = tuple(Turn(*turn) for turn in turns)
    example = Example("1", source, question, images, answer, tuple(options), metadata, turns=told)
    with contextlib.suppress(BadRow):
        check_text(example)
    rule = outcome(lambda: rule_for(example), ValueError)
    if rule is None:
        return
    movable = outcome(lambda: movable_slots(example, rule), ValueError, CannotPermute)
    if not movable:
        return
    order, slots = list(range(count)), list(movable)
    random.Random(seed).shuffle(slots)
    for slot, other in zip(movable, slots, strict=True):
        order[slot] = other
    permuted = outcome(lambda: permute(example, order, rule), CannotPermute, ValueError)
    if permuted is not None:
        assert sorted(permuted.images) == sorted(images)
        inverse = [order.index(slot) for slot in range(count)]
        assert permute(permuted, inverse, rule) == example
