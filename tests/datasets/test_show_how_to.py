"""ShowHowTo: frames are cut exactly, and an oracle that looks at the frames finds every answer."""

import dataclasses
import io
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from perl_jax.data import BadRow
from perl_jax.datasets.show_how_to import DATA_SETS, read_questions
from perl_jax.datasets.step_questions import KINDS, names_images
from perl_jax.permutation import lint, orders_for, rule_for
from perl_jax.permutation.reading.options import find_options
from perl_jax.types import Example
from tests.datasets.strips import (
    frame_pixels,
    jpeg,
    sequence_id,
    write_show_how_to,
)

LENGTHS = [2 + n % 7 for n in range(14)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_show_how_to(tmp_path_factory.mktemp("show_how_to"), LENGTHS)


@pytest.fixture(scope="module")
def examples(root):
    return list(read_questions(root))


def pixels_of(image):
    return np.asarray(Image.open(io.BytesIO(image)))


class Oracle:
    """Knows every frame by its pixels, and answers from what it sees and reads."""

    def __init__(self, root):
        self.steps = json.loads((root / "prompts.json").read_text())
        self.known = {}
        for path in root.glob("imgseqs*/*.jpg"):
            strip = np.asarray(Image.open(path))
            count = len(self.steps[path.stem])
            for n, frame in enumerate(np.split(strip, count, axis=1)):
                assert self.known.setdefault(frame.tobytes(), (path.stem, n)) == (path.stem, n)

    def solve(self, example):
        seen = [self.known[pixels_of(image).tobytes()] for image in example.images]
        question = example.question
        assert question.count("<image>") == len(seen)
        if example.metadata["question_type"] == "ordering":
            orders = re.findall(r"\n([A-D])\. ([\d→]+)", question)
            stated = re.findall(r"\nStep \d+: (.*)", question)
            assert stated == self.steps[seen[0][0]]
            places = [seen.index((seen[0][0], n)) + 1 for n in range(len(seen))]
            (letter,) = [x for x, order in orders if order == "→".join(map(str, places))]
            return letter
        assert question.endswith("\nOptions:\nA. <image>\nB. <image>\nC. <image>\nD. <image>")
        wanted = self.wanted(question, seen[:-4])
        (place,) = [n for n, frame in enumerate(seen[-4:]) if frame in wanted]
        return "ABCD"[place]

    def wanted(self, question, shown):
        """The frames that answer a question."""
        if match := re.match(r"A step of a task: (.*)\n", question):
            return {(id, texts.index(match[1])) for id, texts in self.steps.items()
                    if match[1] in texts}  # fmt: skip
        ((id, first), *_) = shown
        texts = self.steps[id]
        if match := re.search(r"Before it: (.*)\n<image>\nAfter it: (.*)\n", question):
            assert shown == [(id, first), (id, first + 2)]
            assert match.groups() == (texts[first], texts[first + 2])
            return {(id, first + 1)}
        assert re.findall(r"Step \d+: (.*)\n<image>", question) == texts[: len(shown)]
        assert shown == [(id, n) for n in range(len(shown))]
        return {(id, len(shown))}


def test_every_sequence_gets_each_kind_of_question_that_it_has_steps_for(examples):
    assert all(isinstance(example, Example) for example in examples)
    kinds = Counter(example.metadata["question_type"] for example in examples)
    assert kinds == {
        kind: sum(length >= least for length in LENGTHS) for kind, least in KINDS.items()
    }
    assert len({example.id for example in examples}) == len(examples)
    first = examples[0]
    assert (first.id, first.source) == ("vid000_0-description_to_frame", "ShowHowTo")
    assert first.metadata == {
        "question_type": "description_to_frame",
        "change_needed": True,
        "sequence": "vid000_0",
    }


def test_the_answers_are_those_of_the_oracle(root, examples):
    oracle = Oracle(root)
    for example in examples:
        assert oracle.solve(example) == example.answer, example.id


def test_the_answers_of_permuted_questions_are_those_of_the_oracle(root, examples):
    oracle = Oracle(root)
    moved = 0
    for example in examples:
        orders = orders_for(
            example, rule_for(example), seed=1, step=0, rate=1.0, num_orders=2
        ).examples  # fmt: skip
        assert len(orders) > 1, example.id
        for other in orders[1:]:
            assert oracle.solve(other) == other.answer, example.id
            moved += other.images != example.images
            if example.metadata["question_type"] != "ordering":
                assert other.question == example.question
                assert other.images[:-4] == example.images[:-4]
    assert moved > len(examples)


def test_a_wrong_answer_is_not_the_oracles(root, examples):
    wrong = dataclasses.replace(examples[0], images=examples[0].images[::-1])
    assert Oracle(root).solve(wrong) != wrong.answer


def test_lint_finds_that_all_can_be_permuted(examples):
    report = lint(examples, unknown="error")
    assert (report.total, report.permuted) == (len(examples), len(examples))
    assert report.sources == {"ShowHowTo": (len(examples), len(examples))}


def test_lint_says_why_a_question_with_an_unclear_step_stays_in_order(tmp_path):
    steps = ["Lay out the parts.", "Put the left panel in.", "Screw it on."]
    root = write_show_how_to(tmp_path, [3, 4, 4], steps={0: steps})
    report = lint([row for row in read_questions(root) if isinstance(row, Example)])
    assert report.reasons == {"ambiguous_noun": len(report.samples["ambiguous_noun"])}
    assert all(id.startswith(sequence_id(0)) for id in report.samples["ambiguous_noun"])
    assert report.permuted == report.total - report.reasons["ambiguous_noun"]


def test_the_options_are_lettered_as_the_rules_read_them(examples):
    for example in examples:
        count = 2 if example.images[2:] == () else 4
        assert [option.letter for option in find_options(example)] == list("ABCD"[:count])


def test_the_frames_are_the_crops_of_the_strip(root, examples):
    ordering = next(e for e in examples if e.id == f"{sequence_id(5)}-ordering")
    strip = np.asarray(Image.open(next(root.glob(f"imgseqs*/{sequence_id(5)}.jpg"))))
    assert strip.shape == (16, 7 * 24, 3)
    crops = {strip[:, 24 * n : 24 * (n + 1)].tobytes() for n in range(7)}
    assert {pixels_of(image).tobytes() for image in ordering.images} == crops
    assert {Image.open(io.BytesIO(image)).format for image in ordering.images} == {"PNG"}


def test_right_answers_stand_at_every_place(examples):
    places = Counter(example.answer for example in examples)
    assert set(places) == set("ABCD")
    assert max(places.values()) < len(examples) / 2


def test_the_questions_are_a_function_of_the_seed(root, examples):
    assert list(read_questions(root)) == examples
    others = list(read_questions(root, seed=1))
    assert [other.id for other in others] == [example.id for example in examples]
    assert sum(o != e for o, e in zip(others, examples, strict=True)) > len(examples) / 2


def test_distractors_come_from_the_own_sequence_as_long_as_there_are(root, examples):
    known = Oracle(root).known
    for example in examples:
        if example.metadata["question_type"] == "ordering":
            continue
        seen = [known[pixels_of(image).tobytes()] for image in example.images]
        own = [frame for frame in seen if frame[0] == example.metadata["sequence"]]
        assert len(set(seen)) == len(seen)
        length = LENGTHS[int(example.metadata["sequence"][3:6])]
        assert len(own) == min(len(seen), length), example.id


def by_id(rows):
    """The examples by id, and the reasons of the others by the name of their row."""
    rows = list(rows)
    found = {row.id: row for row in rows if isinstance(row, Example)}
    return found, {row.row: row.reason for row in rows if isinstance(row, BadRow)}


def test_no_distractor_has_the_text_or_the_pixels_of_the_right_frame(tmp_path):
    steps = ["Stir it.", "Pour it out.", "stir it"]
    root = write_show_how_to(tmp_path, [3, 3, 3, 3], steps=dict.fromkeys(range(4), steps))
    for seed in range(6):
        found, bad = by_id(read_questions(root, seed=seed))
        known = Oracle(root).known
        for example in found.values():
            seen = [known[pixels_of(image).tobytes()] for image in example.images[-4:]]
            right = seen["ABCD".index(example.answer)][1] % 2
            assert [n % 2 for _, n in seen].count(right) == 1
        assert {bad[f"{sequence_id(n)}-ordering"] for n in range(4)} == {"repeated_step"}


def test_frames_that_look_the_same_are_not_offered_together(tmp_path):
    root = write_show_how_to(tmp_path, [2, 2, 2], folders=1)
    same = root / "imgseqs0" / f"{sequence_id(0)}.jpg"
    for n in (1, 2):
        (root / "imgseqs0" / f"{sequence_id(n)}.jpg").write_bytes(same.read_bytes())
    found, bad = by_id(read_questions(root))
    assert set(bad.values()) == {"no_distractors"}
    assert {id.partition("-")[2] for id in bad} == {"description_to_frame", "next_frame"}
    assert {example.metadata["question_type"] for example in found.values()} == {"ordering"}


def test_two_steps_have_two_orders(tmp_path):
    found, _ = by_id(read_questions(write_show_how_to(tmp_path, [2])))
    ordering = found[f"{sequence_id(0)}-ordering"]
    options = re.findall(r"\n([A-D])\. ([12→]+)", ordering.question)
    assert sorted(order for _, order in options) == ["1→2", "2→1"]


def damaged(root):
    """Spoils a strip or the texts of a sequence in every way; the reason for each."""
    folder = root / "imgseqs0"
    prompts = json.loads((root / "prompts.json").read_text())
    ids = iter(sequence_id(n) for n in range(2, 12))
    reasons = {}

    def spoil(reason, *, strip=None, steps=None):
        id = next(ids)
        if strip is not None:
            (folder / f"{id}.jpg").write_bytes(strip)
        else:
            prompts[id] = steps
        reasons[f"imgseqs0/{id}.jpg"] = reason

    whole = (folder / f"{sequence_id(2)}.jpg").read_bytes()
    spoil("bad_image", strip=b"")
    spoil("bad_image", strip=whole[: len(whole) // 2])
    spoil("bad_image", strip=b"<html>not found</html>")
    spoil("bad_strip", strip=jpeg(np.zeros((16, 73, 3), np.uint8)))
    spoil("bad_strip", strip=jpeg(np.zeros((16, 45, 3), np.uint8)))
    spoil("no_steps", steps=[])
    spoil("bad_steps", steps=["Chop.", None, "Fry."])
    spoil("bad_steps", steps="Chop.")
    spoil("bad_steps", steps=["Chop.", " ", "Fry."])
    spoil("bad_steps", steps=["Chop.", "Hang up the second picture.", "Fry."])
    (root / "prompts.json").write_text(json.dumps(prompts))
    return reasons


def test_a_sequence_that_cannot_be_read_is_a_bad_row_and_no_distractor(tmp_path):
    root = write_show_how_to(tmp_path, [4, 4] + [3] * 10 + [4] * 3, folders=1)
    reasons = damaged(root)
    found, bad = by_id(read_questions(root))
    assert bad == reasons
    good = {sequence_id(n) for n in (0, 1, 12, 13, 14)}
    assert {id.partition("-")[0] for id in found} == good
    assert len(found) == 4 * len(good)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ("Chop 2 onions.", False),
        ("Cut off the right side, then fold it over 1/2.", False),
        ("Hang up the second picture.", True),
        ("Print image 2.", True),
        ("Go from 1 -> 2.", True),
        ("Look: <image>", True),
    ],
)
def test_a_step_must_not_read_as_naming_an_image(step, names):
    assert names_images(step) == names


def test_a_strip_without_texts_is_a_bad_row_and_texts_without_a_strip_are_none(tmp_path):
    root = write_show_how_to(tmp_path, [4] * 4, folders=1)
    prompts = json.loads((root / "prompts.json").read_text())
    prompts["not_downloaded"] = ["Chop.", "Fry."]
    (root / "prompts.json").write_text(json.dumps(prompts))
    (root / "imgseqs0" / "unknown.jpg").write_bytes(jpeg(frame_pixels(60, 0)))
    found, bad = by_id(read_questions(root))
    assert (len(found), bad) == (16, {"imgseqs0/unknown.jpg": "no_steps"})


def test_a_link_out_of_the_directory_is_not_read(tmp_path):
    root = write_show_how_to(tmp_path / "data", [4] * 5, folders=1)
    strip = root / "imgseqs0" / f"{sequence_id(1)}.jpg"
    strip.rename(tmp_path / "secret.jpg")
    strip.symlink_to(tmp_path / "secret.jpg")
    _, bad = by_id(read_questions(root))
    assert bad == {f"imgseqs0/{sequence_id(1)}.jpg": "unsafe_path"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ["Chop', "expected a whole JSON object"),
        (b"[1]", "expected an object; got list"),
        (b'{"a": ["Chop."], "a": ["Fry."]}', "the key 'a' stands twice"),
        (b"\xff\xfe", "expected a whole JSON object"),
    ],
)
def test_broken_prompts_are_an_error_that_names_the_file(tmp_path, content, message):
    root = write_show_how_to(tmp_path, [4])
    (root / "prompts.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"prompts\.json: .*{message}"):
        next(read_questions(root))


def test_missing_files_and_a_strip_that_is_there_twice_are_errors(tmp_path):
    root = write_show_how_to(tmp_path, [4, 4])
    strip = root / "imgseqs0" / f"{sequence_id(0)}.jpg"
    (root / "imgseqs1" / strip.name).write_bytes(strip.read_bytes())
    with pytest.raises(ValueError, match=rf"imgseqs1/{strip.name}: expected one strip a sequence"):
        next(read_questions(root))
    for path in root.glob("imgseqs*/*.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"imgseqs\*/\*\.jpg"):
        next(read_questions(root))
    (root / "prompts.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"prompts\.json"):
        next(read_questions(root))


def test_the_splits_are_the_published_directories(tmp_path):
    (data_set,) = DATA_SETS
    write_show_how_to(tmp_path / "ShowHowToTest", [4])
    assert data_set.splits.keys() == {"train", "test"}
    assert len(list(data_set.splits["test"](tmp_path))) == 4
    with pytest.raises(FileNotFoundError, match="ShowHowToTrain"):
        next(data_set.splits["train"](tmp_path))
