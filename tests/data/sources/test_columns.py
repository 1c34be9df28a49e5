"""A mapping of columns: what each makes of a row, in every kind of file."""

import pickle

import pytest

from perl_jax.data import BadRow, ColumnsConfig
from perl_jax.data.sources.columns import RowOptions, read_row
from perl_jax.settings import read_config
from perl_jax.types import prompt_text
from tests.data.sources.row_files import KINDS, first_name, open_rows

PLAIN = ColumnsConfig(question="q", answer="a")


def read(row, *, prompt_suffix="", source=None, image_root=None, **changed):
    columns = ColumnsConfig(**{"question": "q", "answer": "a", **changed})
    row = {"q": "Which?", "a": "B", **row}
    return read_row(columns, row, "f:0", "f", RowOptions(image_root, prompt_suffix, source))


def refusal(row, **changed):
    with pytest.raises(BadRow) as caught:
        read(row, **changed)
    assert caught.value.row == "f:0"
    return caught.value


MAPPED = ColumnsConfig(
    question="conversation.text",
    answer="target.value",
    images=("image_1", "image_2", "image_3"),
    options="choices",
    id=("set", "info.number"),
    source="set",
    metadata=("info.level", "kind"),
    answer_is="index",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapping_reads_the_same_example_from_every_kind_of_file(tmp_path, kind):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    row = {
        "conversation": {"text": "<image><image> Which is larger?"},
        "target": {"value": 1},
        "image_1": "a.png",
        "image_2": {"bytes": None, "path": "b.png"},
        "image_3": None,
        "choices": ["the first", "the second"],
        "set": "mine",
        "info": {"number": 7, "level": 3},
        "kind": "comparison",
        "unread": [1, 2],
    }
    other = {**row, "info": {"number": 8, "level": None}, "image_2": None}
    source = open_rows(kind, tmp_path, [other, row], columns=MAPPED, image_root=tmp_path)
    example = source[1]
    assert (example.id, example.source) == ("mine/7", "mine")
    assert example.question == "<image><image> Which is larger?"
    assert example.images == (b"a", b"b")
    assert (example.answer, example.options) == ("B", ("A. the first", "B. the second"))
    assert example.metadata == {"level": 3, "kind": "comparison"}
    assert (source[0].images, source[0].metadata) == ((b"a",), {"kind": "comparison"})


@pytest.mark.reliability("1")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_column_that_no_row_has_is_an_error_at_opening(tmp_path, kind):
    rows = [{"question": "?", "answers": {"text": "A"}} for _ in range(3)]
    columns = ColumnsConfig(question="question", answer="answers.txt", id=("uid",))
    message = (
        r"columns: expected some of question, answers, answers\.text; "
        r"got 'answers\.txt' \(did you mean 'answers\.text'\?\), 'uid'"
    )
    with pytest.raises(ValueError, match=message):
        open_rows(kind, tmp_path, rows, columns=columns)


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_that_stands_twice_is_an_error_that_names_both(tmp_path, kind):
    rows = [{"q": "?", "a": "A", "n": n} for n in (3, 4, 3)]
    columns = ColumnsConfig(question="q", answer="a", id=("n",))
    message = f"{first_name(kind, 2)}: .*{first_name(kind, 0)} has '3' too"
    with pytest.raises(ValueError, match=message):
        open_rows(kind, tmp_path, rows, columns=columns)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_an_id_are_called_by_their_place(tmp_path, kind):
    rows = [{"q": "?", "a": "A", "n": n} for n in (5, None)]
    columns = ColumnsConfig(question="q", answer="a", id=("n",))
    source = open_rows(kind, tmp_path, rows, columns=columns)
    assert [source[n].id for n in (0, 1)] == ["5", first_name(kind, 1)]
    assert source[0].source == "train"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"a": None}, "answer_null"),
        ({"a": "  "}, "bad_answer"),
        ({"a": "0/0"}, "bad_answer"),
        ({"q": None}, "empty_prompt"),
        ({"q": " "}, "empty_prompt"),
        ({"q": "<video>?"}, "video"),
        ({"images": ["gone.png"]}, "missing_image"),
        ({"images": ["../secret.png"]}, "unsafe_path"),
        ({"images": ["/etc/passwd"]}, "unsafe_path"),
        ({"images": ["http://localhost/a.png"]}, "unsafe_path"),
        ({"images": ["file:///etc/passwd"]}, "unsafe_path"),
        ({"images": ["zero.png"]}, "unsafe_path"),
        ({"images": [None]}, "missing_image"),
        ({"source": None}, "source_null"),
    ],
)
def test_a_bad_row_names_itself_and_leaves_the_others(tmp_path, kind, changed, reason):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"a")
    (tmp_path / "images" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "secret.png").write_bytes(b"secret")
    good = {"q": "<image>?", "a": "A", "images": ["a.png"], "source": "mine"}
    columns = ColumnsConfig(question="q", answer="a", images=("images",), source="source")
    source = open_rows(
        kind,
        tmp_path,
        [good, {**good, **changed}, good],
        columns=columns,
        image_root=tmp_path / "images",
    )
    assert [source[n].images for n in (0, 2)] == [(b"a",)] * 2
    with pytest.raises(BadRow) as caught:
        source[1]
    assert (caught.value.reason, caught.value.row) == (reason, first_name(kind, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [None, []])
def test_no_images_are_no_fault(tmp_path, kind, images):
    rows = [{"q": "?", "a": "A", "images": images}, {"q": "?", "a": "A", "images": ["a.png"]}]
    columns = ColumnsConfig(question="q", answer="a", images=("images",))
    assert open_rows(kind, tmp_path, rows, columns=columns)[0].images == ()


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_changes_with_content_mapping_and_options(tmp_path, kind):
    def fingerprint(rows, columns=PLAIN, **options):
        return open_rows(kind, tmp_path, rows, columns=columns, **options).fingerprint()

    rows = [{"q": f"{n}?", "a": str(n), "b": "A"} for n in range(20)]
    variants = [
        fingerprint(rows),
        fingerprint([*rows[:9], {**rows[9], "a": "x"}, *rows[10:]]),
        fingerprint([*rows[:9], {**rows[9], "q": "x?"}, *rows[10:]]),
        fingerprint(rows[:-1]),
        fingerprint(rows[::-1]),
        fingerprint(rows, ColumnsConfig(question="q", answer="b")),
        fingerprint(rows, ColumnsConfig(question="q", answer="a", metadata=("b",))),
        fingerprint(rows, prompt_suffix="!"),
        fingerprint(rows, source="mine"),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(rows) == variants[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_source_reads_the_same_rows(tmp_path, kind):
    rows = [{"q": f"{n}?", "a": str(n)} for n in range(20)]
    source = open_rows(kind, tmp_path, rows, columns=PLAIN, prompt_suffix="!")
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[n] for n in range(20)] == [source[n] for n in range(20)]
    assert prompt_text(copy[13]) == "13?!"
    assert copy.fingerprint() == source.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_row_beyond_the_last(tmp_path, kind):
    source = open_rows(kind, tmp_path, [{"q": "?", "a": "A"}], columns=PLAIN)
    assert len(source) == 1
    for index in (1, -1):
        with pytest.raises(IndexError, match=rf"row {index}: the rows are 0 to 0"):
            source[index]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_mapping_the_columns_tell_the_layout(tmp_path, kind):
    verl = {
        "data_source": "digits",
        "prompt": [{"role": "user", "content": "Which?"}],
        "images": [],
        "reward_model": {"ground_truth": "A"},
        "extra_info": {"split": "train", "index": 4, "level": 2},
        "change_needed": True,
    }
    example = open_rows(kind, tmp_path, [verl, {**verl, "extra_info": None}])[0]
    assert (example.id, example.source) == ("digits/train/4", "digits")
    assert (example.question, example.answer) == ("Which?", "A")
    expected = {"split": "train", "index": 4, "level": 2, "change_needed": True}
    assert example.metadata == expected
    easyr1 = {"problem": "Which?", "answer": 7, "images": [], "data_source": "MMK12"}
    example = open_rows(kind, tmp_path, [easyr1])[0]
    assert (example.id, example.source) == (first_name(kind), "MMK12")
    assert (example.question, example.answer) == ("Which?", "7")
    with pytest.raises(ValueError, match="for the layout of EasyR1 it lacks problem, images"):
        open_rows(kind, tmp_path, [{"question": "?", "answer": "A"}])


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["red", "blue"], ("A. red", "B. blue")),
        (["(A) red", "(B) blue"], ("(A) red", "(B) blue")),
        ("A: red\nB: blue\n", ("A: red", "B: blue")),
        ("red\n\nblue", ("A. red", "B. blue")),
        (["A. red", "C. blue"], ("A. A. red", "B. C. blue")),
        ([3, 4.5], ("A. 3", "B. 4.5")),
        ([], ()),
        (None, ()),
    ],
)
def test_options_are_a_list_or_lines_and_get_letters_where_they_have_none(options, shown):
    assert read({"o": options}, options="o").options == shown


@pytest.mark.parametrize("options", [["red", None], {"A": "red"}, 3, ["x"] * 27, [["red"]]])
def test_options_that_are_no_texts_are_refused(options):
    assert refusal({"o": options}, options="o").reason == "bad_options"


@pytest.mark.parametrize(("index", "letter"), [(0, "A"), (2, "C"), ("1", "B")])
def test_an_index_becomes_the_letter_of_its_option(index, letter):
    options = ["red", "blue", "green"]
    assert read({"a": index, "o": options}, options="o", answer_is="index").answer == letter
    assert read({"a": index}, answer_is="index").answer == letter


@pytest.mark.parametrize("index", [3, -1, 1.5, True, "B", "9" * 5000])
def test_an_index_of_no_option_is_refused(index):
    error = refusal({"a": index, "o": ["r", "g", "b"]}, options="o", answer_is="index")
    assert error.reason == "bad_answer"


def test_a_box_around_an_answer_goes():
    assert read({"a": r"\boxed{\frac{1}{2}}"}).answer == r"\frac{1}{2}"


@pytest.mark.parametrize(
    ("question", "options", "expected"),
    [
        ("Which?", None, "<image><image><image>\nWhich?"),
        ("<image> Which?", None, "<image><image>\n<image> Which?"),
        ("<image 1><image2> Which?", None, "<image>\n<image 1><image2> Which?"),
        ("Which?", ["<image>", "<image>"], "<image>\nWhich?"),
        ("<image><image><image> Which?", None, "<image><image><image> Which?"),
        ("<image><image><image><image> Which?", None, "<image><image><image><image> Which?"),
    ],
)
def test_missing_tags_stand_in_front_where_that_is_asked_for(question, options, expected):
    row = {"q": question, "i": [b"1", b"2", b"3"], "o": options}
    columns = {"images": ("i",), "options": "o"}
    assert read(row, prepend_missing_images=True, **columns).question == expected
    assert read(row, **columns).question == question


@pytest.mark.parametrize(
    "image", [3, ["a.png"], {"bytes": None, "path": 3}, {"path": ["a.png"]}, True]
)
def test_an_image_that_is_neither_bytes_nor_a_path_is_refused(image):
    assert refusal({"i": [image]}, images=("i",)).reason == "bad_image"


@pytest.mark.parametrize("question", [3, {"text": "?"}, [{"role": "user", "content": 3}]])
def test_a_question_that_is_no_text_is_refused(question):
    assert refusal({"q": question}).reason == "bad_prompt"


def test_a_column_may_have_a_point_in_its_name():
    row = {"reward_model.ground_truth": "C", "reward_model": {"ground_truth": "D"}}
    assert read(row, answer="reward_model.ground_truth").answer == "C"


def test_a_source_that_is_given_replaces_the_column():
    assert read({"s": "theirs"}, source="mine").source == "mine"
    assert read({}).source == "f"


def test_a_struct_among_the_metadata_gives_its_plain_values():
    row = {"info": {"level": 3, "tags": ["x"], "none": None}, "deep": {"kind": "k"}}
    assert read(row, metadata=("info", "deep.kind")).metadata == {"level": 3, "kind": "k"}


def test_metadata_of_one_name_is_an_error_of_the_configuration():
    values = {"question": "q", "answer": "a", "metadata": ["x.kind", "kind"]}
    with pytest.raises(ValueError, match=r"columns\.metadata: expected different names; got kind"):
        read_config(ColumnsConfig, values, "columns")
