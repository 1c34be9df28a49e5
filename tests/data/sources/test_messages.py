"""Messages of a row: every form that people have, in every kind of file."""

import base64
import contextlib
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_jax.data import BadRow, ColumnsConfig, DatasetDirectorySource, ParquetSource
from perl_jax.data.sources.columns import RowOptions, read_row
from perl_jax.data.sources.messages import read_question
from perl_jax.types import Turn, conversation_text, prompt_of
from tests.data.sources.row_files import KINDS, open_rows, write_directory

COLUMNS = ColumnsConfig(question="q", answer="a", images=("images",))
DATA_URL = "data:image/png;base64," + base64.b64encode(b"inline").decode()


def user(content):
    return {"role": "user", "content": content}


def read(question, images=(), root=None, **changed):
    columns = ColumnsConfig(**{"question": "q", "answer": "a", "images": ("images",), **changed})
    row = {"q": question, "a": "B", "images": list(images)}
    return read_row(columns, row, "f:0", "f", RowOptions(root, "", None))


def refusal(question, images=(), **changed):
    with pytest.raises(BadRow) as caught:
        read(question, images, **changed)
    assert caught.value.row == "f:0"
    return caught.value


TEXT = {"type": "text", "text": "Which is older?"}
SHOWN = {"type": "image"}


@pytest.mark.parametrize(
    "content",
    [
        "<image><image>Which is older?",
        [SHOWN, SHOWN, TEXT],
        [SHOWN, SHOWN, "Which is older?"],
        [SHOWN, SHOWN, {"text": "Which is older?"}],
        [{"type": "text", "text": "<image><image>"}, TEXT],
        [{**SHOWN, "text": None, "image": None}] * 2 + [{**TEXT, "image": None}],
        [{**SHOWN, "text": ""}] * 2 + [{"type": "input_text", "text": "Which is older?"}],
    ],
)
def test_parts_of_a_message_are_its_text_with_placeholders(content):
    for question in ([user(content)], content):
        example = read(question, [b"a", b"b"])
        assert example.question == "<image><image>Which is older?"
        assert (example.images, example.turns) == ((b"a", b"b"), ())


@pytest.mark.parametrize(
    ("part", "image"),
    [
        ({"type": "image", "image": "a.png"}, b"a"),
        ({"type": "image", "image": b"bytes"}, b"bytes"),
        ({"type": "image", "image": {"bytes": b"bytes", "path": None}}, b"bytes"),
        ({"type": "image", "image": {"path": "a.png"}}, b"a"),
        ({"image": "a.png"}, b"a"),
        ({"image": DATA_URL}, b"inline"),
        ({"type": "image", "path": "a.png"}, b"a"),
        ({"type": "image", "bytes": b"bytes"}, b"bytes"),
        ({"type": "image", "url": DATA_URL}, b"inline"),
        ({"type": "image", "base64": DATA_URL.partition(",")[2]}, b"inline"),
        ({"type": "image_url", "image_url": {"url": DATA_URL}}, b"inline"),
        ({"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}}, b"a"),
        ({"type": "image_url", "image_url": "a.png"}, b"a"),
        ({"type": "input_image", "image_url": DATA_URL}, b"inline"),
    ],
)
def test_an_image_may_stand_in_its_message(tmp_path, part, image):
    (tmp_path / "a.png").write_bytes(b"a")
    example = read([user([part, TEXT])], root=tmp_path)
    assert (example.images, example.question) == ((image,), "<image>Which is older?")
    # The next image of the columns stands where a part holds none.
    example = read([user([SHOWN, part, SHOWN, TEXT])], [b"1", b"2"], root=tmp_path)
    assert example.images == (b"1", image, b"2")


def test_turns_before_the_question_are_kept_in_order():
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    told = [system, user([SHOWN, "What is it?"]), {"role": "assistant", "content": "A dog."}]
    example = read([*told, user("<image> And this?")], [b"a", b"b"])
    assert example.turns == (
        Turn("system", "Be brief."),
        Turn("user", "<image>What is it?"),
        Turn("assistant", "A dog."),
    )
    assert (example.question, example.images) == ("<image> And this?", (b"a", b"b"))
    assert prompt_of(example) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": "<image> And this?"},
    ]
    whole = "Be brief.\n<image>What is it?\nA dog.\n<image> And this?"
    assert conversation_text(example) == whole


@pytest.mark.parametrize(
    ("question", "reason", "message"),
    [
        (["Which?"], "bad_prompt", "expected messages of system, user, assistant; got None"),
        (3, "bad_prompt", "q: expected text or messages; got int '3'"),
        ([user("?"), user(None)], "empty_prompt", "a message of the user is empty"),
        ([user(3)], "bad_prompt", "expected text, or a list of parts; got int '3'"),
        ([user([{"type": "audio", "audio": "a"}])], "bad_prompt", "got type 'audio' with audio, t"),
        ([user([3])], "bad_prompt", "a part of a message: expected .* got 3"),
        ([user([{"type": "text"}])], "bad_prompt", "got type 'text' with type"),
        ([user([{"type": "video", "video": "v"}])], "video", "only images are read"),
        ([user([{"video": "v"}])], "video", "only images are read"),
        ([user(["<video>?"])], "video", "only images are read"),
        ([user([SHOWN, "<image>?"])], "bad_prompt", "twice .leave <image> out of its text"),
        ([user([{"image": b"a", "text": "Q"}])], "bad_prompt", "make it two parts"),
        ([user([{"image": b"a"}]), user("<image 1>?")], "bad_prompt", "numbered placeholders"),
        ([{"role": "assistant", "content": "<image>"}, user("?")], "bad_prompt", "assistant shows"),
        ([{"role": "assistant", "content": [SHOWN]}, user("?")], "bad_prompt", "assistant shows"),
        ([user([{"image": "http://x/a.png"}, "?"])], "unsafe_path", "is a URL, which is not fetch"),
        ([user([{"image": "data:image/png;base64,??"}])], "bad_image", "expected data:image/...;b"),
        ([user([{"image": "a.png"}, "?"])], "missing_image", "no image_root is given"),
    ],
)
def test_what_stays_refused_says_what_to_do(question, reason, message):
    error = refusal(question)
    assert error.reason == reason
    assert re.search(message, error.message), error.message


def test_images_in_messages_and_in_columns_are_named():
    error = refusal([user([{"image": b"a"}, TEXT])], [b"b"])
    assert str(error) == (
        "f:0: image_count: 1 images stand in the messages, and 1 in the columns images for 0 other "
        "placeholders; give every image once (columns.images says which columns are read)"
    )


def test_missing_images_are_put_before_the_first_question():
    turns = [user("What?"), {"role": "assistant", "content": "<A>"}, user("<image> And?")]
    example = read(turns, [b"a", b"b"], prepend_missing_images=True)
    assert (example.turns[0].text, example.question) == ("<image>\nWhat?", "<image> And?")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_holds_conversations(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(b"a")
    parts = [
        {"type": "image", "text": None, "image": "a.png"},
        {"type": "text", "text": "Which?", "image": None},
    ]
    said = [{"type": "text", "text": "Brief.", "image": None}]
    rows = [
        {
            "data_source": "mine",
            "prompt": [{"role": "system", "content": said}, {"role": "user", "content": parts}],
            "reward_model": {"style": "rule", "ground_truth": "A"},
        }
    ]
    example = open_rows(kind, tmp_path, rows, image_root=tmp_path)[0]
    assert (example.question, example.images) == ("<image>Which?", (b"a",))
    assert example.turns == (Turn("system", "Brief."),)


IMAGES = {
    "only bytes": (pa.list_(pa.struct({"bytes": pa.binary()})), [{"bytes": b"a"}] * 2),
    "only paths": (pa.list_(pa.struct({"path": pa.string()})), [{"path": "a.png"}] * 2),
    "fixed size": (pa.list_(pa.struct({"bytes": pa.binary()}), 2), [{"bytes": b"a"}] * 2),
    "large": (pa.large_list(pa.large_binary()), [b"a"] * 2),
    "list view": (pa.list_view(pa.binary()), [b"a"] * 2),
    "views": (pa.list_(pa.binary_view()), [b"a"] * 2),
    "dictionary": (pa.list_(pa.dictionary(pa.int32(), pa.string())), ["a.png"] * 2),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_are_read_from_every_form_of_list(tmp_path, form):
    (tmp_path / "a.png").write_bytes(b"a")
    kind, images = IMAGES[form]
    words = pa.string_view() if form == "views" else pa.dictionary(pa.int32(), pa.string())
    table = pa.table(
        {
            "problem": pa.array(["<image><image>?"], words if form == "views" else pa.string()),
            "answer": ["A"],
            "images": pa.array([images], kind),
            "source": pa.array(["mine"], words),
        }
    )
    directory = write_directory(tmp_path / "rows", table)
    pq.write_table(table, tmp_path / "rows.parquet")
    for source in (
        DatasetDirectorySource(directory, image_root=tmp_path),
        ParquetSource(tmp_path / "rows.parquet", image_root=tmp_path),
    ):
        assert (source[0].images, source[0].source) == ((b"a", b"a"), "mine")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("image",), ("image_1", "image_2"), ("image2", "image10")])
def test_without_a_list_images_stand_in_columns_of_their_own(tmp_path, kind, names):
    images = dict(zip(names, ("b.png", "a.png"), strict=False))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    row = {"problem": "<image>?", "answer": "A", **dict(reversed(images.items()))}
    source = open_rows(kind, tmp_path, [row], image_root=tmp_path)
    assert source[0].images == tuple(path.encode() for path in images.values())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["user", "system", "assistant", "<image>", "<image 2>", "text", "image"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "image", "image_url", "url", "bytes"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES)
def test_any_row_is_read_or_refused_with_a_reason(question, images):
    with contextlib.suppress(BadRow):
        assert read_question(question, "q", "f:0").question.strip()
    row = json.loads(json.dumps({"q": question, "a": "B", "images": images}))
    with contextlib.suppress(BadRow):
        example = read_row(COLUMNS, row, "f:0", "f", RowOptions(None, "", None))
        assert all(isinstance(image, bytes) for image in example.images)
