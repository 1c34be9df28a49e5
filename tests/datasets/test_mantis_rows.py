"""Mantis-Instruct from its published files: what becomes of good rows, and what of odd ones."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data import BadRow
from perl_jax.datasets.registry import DATA_SETS
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.datasets.mantis_files import (
    NLVR2,
    paths,
    raw_talk,
    row,
    talk,
    write_json,
    write_nlvr2,
    write_parquet,
    write_zip,
)


def read(directory, name, split="train"):
    return list(DATA_SETS[name].splits[split](directory))


def read_one(directory, conversation, images, subset="nlvr2"):
    """What becomes of one row, between two good ones."""
    good = row("good", paths("a.png"), talk("<image> Which digit is it?\nA. 0\nB. 1", "A"))
    write_parquet(directory, subset, [good, row("x", images, conversation), good])
    write_zip(directory, subset, {"a.png": 0, "b.png": 1})
    before, found, after = read(directory, "mantis_" + subset.replace("-", "_"))
    assert isinstance(before, Example)
    assert isinstance(after, Example)
    return found


def test_every_multi_image_subset_is_listed():
    sources = [data_set.source for name, data_set in DATA_SETS.items() if "mantis" in name]
    assert sorted(sources) == [
        f"Mantis-Instruct-{subset}"
        for subset in (
            "birds-to-words", "coinstruct", "contrastive_caption", "dreamsim", "iconqa",
            "imagecode", "llava_665k_multi", "lrv_multi", "multi_vqa", "nextqa", "nlvr2",
            "spot-the-diff", "star", "visual_story_telling",
        )
    ]  # fmt: skip


def test_a_row_of_nlvr2_is_its_text_its_two_images_and_the_letter(tmp_path):
    write_nlvr2(tmp_path)
    first, second, *_ = read(tmp_path, "mantis_nlvr2")
    assert first == Example(
        id="train/0",
        source="Mantis-Instruct-nlvr2",
        question=NLVR2.format("One is round.").removesuffix("\n(A) True\n(B) False"),
        images=(digit_png(0), digit_png(1)),
        answer="A",
        options=("(A) True", "(B) False"),
        metadata={
            "published_id": "train-0-0",
            "published_answer": "A",
            "question_type": "multiple_choice",
            "left_out_pairs": 0,
        },
    )
    assert (second.id, second.answer) == ("train/1", "B")
    assert second.images == (digit_png(2), digit_png(3))
    assert [one.id for one in read(tmp_path, "mantis_nlvr2", "val")] == ["val/0", "val/1"]


def test_the_raw_json_form_reads_as_the_parquet_form(tmp_path):
    shown = [row("1", paths("a.png", "b.png"), talk(NLVR2.format("x"), "B"))]
    write_parquet(tmp_path / "parquet", "nlvr2", shown)
    raw = [
        {"id": "1", "images": ["a.png", "b.png"], "conversations": raw_talk(NLVR2.format("x"), "B")}
    ]
    write_json(tmp_path / "json", "nlvr2", raw)
    mixed = [{"role": "human", "content": NLVR2.format("x")}, {"from": "gpt", "value": "B"}]
    write_json(tmp_path / "mixed", "nlvr2", [{**raw[0], "conversations": mixed}])
    for form in ("parquet", "json", "mixed"):
        write_zip(tmp_path / form, "nlvr2", {"a.png": 3, "b.png": 4})
    expected = read(tmp_path / "parquet", "mantis_nlvr2")
    assert expected[0].answer == "B"
    assert read(tmp_path / "json", "mantis_nlvr2") == expected
    assert read(tmp_path / "mixed", "mantis_nlvr2") == expected


def test_json_lines_are_read_too(tmp_path):
    raw = {"id": "1", "images": ["a.png"], "conversation": raw_talk("<image> Sum?", "Answer: 7")}
    folder = tmp_path / "iconqa"
    folder.mkdir()
    (folder / "train.jsonl").write_text(f"{json.dumps(raw)}\n\n{json.dumps(raw)}\n")
    write_zip(tmp_path, "iconqa", {"a.png": 0})
    assert [one.answer for one in read(tmp_path, "mantis_iconqa")] == ["7", "7"]


def test_several_parquet_files_follow_each_other(tmp_path):
    for part, id in (("00001-of-00002", "late"), ("00000-of-00002", "early")):
        shown = row(id, paths("a.png"), talk("<image> Sum?", "7"))
        write_parquet(tmp_path, "iconqa", [shown], part=part)
    write_zip(tmp_path, "iconqa", {"a.png": 0})
    found = read(tmp_path, "mantis_iconqa")
    assert [(one.id, one.metadata["published_id"]) for one in found] == [
        ("train/0", "early"),
        ("train/1", "late"),
    ]


def test_bytes_in_the_row_go_before_its_path_and_files_lie_beside_the_rows(tmp_path):
    images = [
        {"bytes": digit_png(5), "path": "a.png"},
        {"bytes": None, "path": "loose/c.png"},
        {"bytes": digit_png(7), "path": None},
    ]
    loose = tmp_path / "dreamsim" / "loose"
    loose.mkdir(parents=True)
    (loose / "c.png").write_bytes(digit_png(6))
    question = "<image><image><image> If image 1 is the reference image, which is nearer?"
    found = read_one(tmp_path, talk(question, "Image 2"), images, "iconqa")
    assert isinstance(found, BadRow)  # the folder is that of another subset
    loose.rename(tmp_path / "iconqa" / "loose")
    found = read_one(tmp_path, talk(question, "Image 2"), images, "iconqa")
    assert found.images == (digit_png(5), digit_png(6), digit_png(7))


def test_later_pairs_are_left_out_and_counted(tmp_path):
    found = read_one(
        tmp_path,
        talk("<image><image> What do you see in the first image", "A cat.", "And then?", "A dog."),
        paths("a.png", "b.png"),
        "contrastive_caption",
    )
    assert found.answer == "A cat."
    assert found.metadata["left_out_pairs"] == 1
    assert found.metadata["question_type"] == "free_text"


def test_images_that_only_later_questions_show_are_left_out(tmp_path):
    found = read_one(
        tmp_path,
        talk("<image> What is this?", "A cat.", "<image> And this?", "A dog."),
        paths("a.png", "b.png"),
        "llava_665k_multi",
    )
    assert found.images == (digit_png(0),)
    assert found.metadata["left_out_pairs"] == 1


def test_frames_without_placeholders_come_first(tmp_path):
    found = read_one(
        tmp_path,
        talk("What happened?\nA: He sat.\nB: He ran.\n", "B: He ran.", "Why?\n", "A: x"),
        paths("a.png", "b.png"),
        "star",
    )
    assert found.question == "<image><image>\nWhat happened?"
    assert found.options == ("A: He sat.", "B: He ran.")
    assert found.answer == "B"


@pytest.mark.parametrize(
    ("images", "reason", "message"),
    [
        (paths("a.png", "b.png", "a.png"), "image_count", "2 placeholders for 3 images"),
        (paths("a.png"), "image_count", "2 placeholders for 1 images"),
        (None, "no_images", "no images"),
        ([], "no_images", "no images"),
        ([{"bytes": None, "path": None}] * 2, "missing_image", "neither bytes nor a path"),
        ([None, None], "missing_image", "neither bytes nor a path"),
        (paths("a.png", "c.png"), "missing_image", "c.png"),
        (paths("a.png", "../a.png"), "unsafe_path", "../a.png"),
        (paths("a.png", "/etc/passwd"), "unsafe_path", "/etc/passwd"),
        (paths("a.png", "https://example.org/a.png"), "unsafe_path", "https"),
        (paths("a.png", "file:///etc/passwd"), "unsafe_path", "file"),
    ],
)
def test_images_that_do_not_fit_make_a_bad_row(tmp_path, images, reason, message):
    found = read_one(tmp_path, talk(NLVR2.format("x"), "A"), images)
    assert isinstance(found, BadRow)
    assert (found.reason, found.row) == (reason, "nlvr2/train-00000-of-00001.parquet:1")
    assert message in found.message


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (None, "bad_conversation"),
        ([], "bad_conversation"),
        (talk(NLVR2.format("x")), "bad_conversation"),
        (talk(NLVR2.format("x"), "A")[::-1], "bad_conversation"),
        ([{"role": "system", "content": "Hm."}, *talk(NLVR2.format("x"), "A")], "bad_conversation"),
        (talk(NLVR2.format("x"), ""), "answer_null"),
        (talk(NLVR2.format("x"), None), "answer_null"),
        (talk(NLVR2.format("x"), "Answer: "), "answer_null"),
        (talk(NLVR2.format("x"), "C"), "letter_outside_options"),
        (talk(NLVR2.format("x"), "Perhaps."), "answer_not_an_option"),
        (talk(" <image>\n<image> ", "A"), "empty_prompt"),
        (talk(NLVR2.format("\0"), "A"), "bad_text"),
        (talk("What?", "A", NLVR2.format("x"), "B"), "no_images"),
    ],
)
def test_conversations_that_do_not_fit_make_a_bad_row(tmp_path, conversation, reason):
    found = read_one(tmp_path, conversation, paths("a.png", "b.png"))
    assert isinstance(found, BadRow)
    assert found.reason == reason


def test_half_a_character_in_json_makes_a_bad_row(tmp_path):
    raw = {"id": "1", "images": ["a.png"], "conversations": raw_talk("<image> \ud800?", "7")}
    write_json(tmp_path, "iconqa", [raw])
    (found,) = read(tmp_path, "mantis_iconqa")
    assert found.reason == "bad_text"


def test_text_that_is_not_utf_8_makes_a_bad_row(tmp_path):
    shown = row("1", paths("a.png"), talk("<image> Sum?", "7"))
    path = write_parquet(tmp_path, "iconqa", [shown, shown])
    write_zip(tmp_path, "iconqa", {"a.png": 0})
    table = pq.read_table(path)
    broken = pa.StringArray.from_buffers(2, *pa.array([b"fine", b"\xff"]).buffers()[1:])
    pq.write_table(table.set_column(0, "id", broken), path)
    good, bad = read(tmp_path, "mantis_iconqa")
    assert good.metadata["published_id"] == "fine"
    assert bad.reason == "bad_text"


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nlvr2: expected train-\*.parquet"):
        read(tmp_path, "mantis_nlvr2")
    path = write_parquet(tmp_path, "nlvr2", [row("1", paths("a.png"), talk("<image>?", "A"))])
    names = path.with_name("train_images_zips.txt")
    names.write_text("train_images_part0.zip\n")
    with pytest.raises(FileNotFoundError, match=r"train_images_part0\.zip: no such file"):
        read(tmp_path, "mantis_nlvr2")
    names.write_text("../train_images.zip\n")
    with pytest.raises(ValueError, match="expected names of zip files beside it"):
        read(tmp_path, "mantis_nlvr2")
    names.unlink()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"train-00000-of-00001.parquet: expected a whole parquet"):
        read(tmp_path, "mantis_nlvr2")
    pq.write_table(pa.table({"id": ["1"], "images": [None]}), path)
    with pytest.raises(ValueError, match="it lacks conversation; its columns are id, images"):
        read(tmp_path, "mantis_nlvr2")
