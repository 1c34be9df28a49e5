"""MMK12, MM-Eureka, K12-freeform, ViRL39K and Geometry3K: what is read is what was written."""

import json

import pytest

from perl_jax.datasets import geometry3k, k12_freeform, mmk12, virl39k
from perl_jax.permutation import lint, orders_for, rule_for
from tests.data.sources.parquet_files import digit_png
from tests.data.sources.row_files import write_jsonl
from tests.datasets.published_files import (
    EASYR1,
    GEOMETRY,
    MMK12,
    VIRL,
    image,
    reasons,
    write_parquet,
    write_zip,
)

SETS = {
    data_set.name: data_set
    for module in (geometry3k, k12_freeform, mmk12, virl39k)
    for data_set in module.DATA_SETS
}


def read(name, split, root):
    return list(SETS[name].splits[split](root))


def test_mmk12_is_read_as_it_is_written(tmp_path):
    choices = "Which is it?\nA. copper\nB. iron\nC. zinc\nD. gold"
    write_parquet(
        tmp_path / "data" / "train-00000-of-00002.parquet",
        MMK12,
        [["a1", image(digit_png(0), "a.png"), "<image>Find x.", "$\\frac{1}{2}$", "math"]],
    )
    write_parquet(
        tmp_path / "data" / "train-00001-of-00002.parquet",
        MMK12,
        [["a2", image(digit_png(1)), "What is x?", " 7 ", None]],
    )
    write_parquet(
        tmp_path / "data" / "test-00000-of-00001.parquet",
        MMK12,
        [["a1", image(digit_png(2)), choices, "B", "chemistry"]],
    )
    first, second = read("mmk12", "train", tmp_path)
    assert (first.id, first.source, first.question) == ("train/a1", "MMK12", "<image>Find x.")
    assert (first.images, first.answer) == ((digit_png(0),), "$\\frac{1}{2}$")
    assert first.metadata == {"subject": "math"}
    # The files hold text and image apart: without a placeholder, the image comes first.
    assert (second.question, second.answer, second.metadata) == ("<image>What is x?", "7", {})
    (test,) = read("mmk12", "test", tmp_path)
    assert (test.id, test.question, test.answer) == ("test/a1", f"<image>{choices}", "B")


def test_mmk12_rows_that_cannot_be_used_say_why(tmp_path):
    (tmp_path / "ok.png").write_bytes(digit_png(5))
    png = image(digit_png(0))
    rows = [
        ["0", image(None, "ok.png"), "Find x.", "1", "math"],
        ["1", None, "Find x.", "1", "math"],
        ["2", image(), "Find x.", "1", "math"],
        ["3", image(None, "gone.png"), "Find x.", "1", "math"],
        ["4", image(None, "../secret.png"), "Find x.", "1", "math"],
        ["5", image(None, "http://localhost/a.png"), "Find x.", "1", "math"],
        ["6", png, "<image> or <image>?", "1", "math"],
        ["7", png, " ", "1", "math"],
        ["8", png, None, "1", "math"],
        ["9", png, "Find x.", None, "math"],
        ["10", png, "Find x.", "}{", "math"],
        [None, png, "Find x.", "1", "math"],
        ["0", png, "Find x.", "1", "math"],
        ["13", png, "Find x.", "\\boxed{1}", "math"],
    ]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", MMK12, rows)
    found = read("mmk12", "train", tmp_path)
    expected = [
        "train/0", "missing_image", "missing_image", "missing_image", "unsafe_path", "unsafe_path",
        "image_count", "empty_prompt", "empty_prompt", "answer_null", "bad_answer", "id_null",
        "duplicate_id", "train/13",
    ]  # fmt: skip
    assert reasons(found) == [
        value if "/" in value else (f"data/train-00000-of-00001.parquet:{n}", value)
        for n, value in enumerate(expected)
    ]
    assert (found[0].images, found[-1].answer) == ((digit_png(5),), "1")


def eureka_row(id, content, answer="4", system=True, **more):
    messages = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": "Answer between <answer> tags."})
    return {"id": id, "message": json.dumps(messages), "answer": answer, **more}


def test_mm_eureka_is_read_from_folders_and_from_archives(tmp_path):
    (tmp_path / "K12").mkdir()
    (tmp_path / "K12" / "a.png").write_bytes(digit_png(1))
    write_zip(tmp_path / "MMPR.zip", {"export/data/MMPR/images/b.png": 2})
    parts = [
        {"type": "image", "image": "K12/a.png"},
        {"type": "text", "text": "and "},
        {"type": "image", "image": "MMPR/images/b.png"},
        {"type": "text", "text": ": how many?"},
    ]
    rows = [
        eureka_row("0", parts),
        eureka_row(1, "Find x.", "$4$", system=False, image_urls=["MMPR/images/b.png"]),
        {"id": "2", "conversations": [{"role": "user", "content": "1+1?"}], "answer": 2},
    ]
    write_jsonl(tmp_path / "dataset.jsonl", rows)
    first, second, third = read("mm_eureka", "train", tmp_path)
    assert (first.id, first.source) == ("train/0", "MM-Eureka")
    assert first.question == "<image>and <image>: how many?"
    assert first.images == (digit_png(1), digit_png(2))
    assert (second.id, second.question) == ("train/1", "<image>Find x.")
    assert (second.images, second.answer) == ((digit_png(2),), "$4$")
    assert (third.question, third.images, third.answer) == ("1+1?", (), "2")


def test_mm_eureka_rows_that_cannot_be_used_say_why(tmp_path):
    user = {"role": "user", "content": "Find x."}
    rows = [
        eureka_row("0", [{"type": "video", "video": "a.mp4"}]),
        {"id": "1", "message": "no JSON", "answer": "1"},
        {"id": "2", "answer": "1"},
        {"id": "3", "message": [user, {"role": "assistant", "content": "1"}], "answer": "1"},
        {"id": "4", "message": [user, user], "answer": "1"},
        eureka_row("5", ""),
        eureka_row("6", "Find x.", None),
        eureka_row("7", "Find x.", image_urls=["file:///etc/passwd"]),
        eureka_row("8", "Find x.", image_urls=["K12/gone.png"]),
        eureka_row("9", "Find x.", image_urls=[None]),
        eureka_row("10", "<image>Find x.", image_urls=["a.png", "b.png"]),
        eureka_row("11", "A lone \ud800 surrogate"),
        ["no", "object"],
        eureka_row("13", "Fine."),
    ]
    write_jsonl(tmp_path / "dataset.jsonl", rows)
    expected = [
        "bad_prompt", "bad_prompt", "bad_prompt", "bad_prompt", "bad_prompt", "empty_prompt",
        "answer_null", "unsafe_path", "missing_image", "missing_image", "image_count", "bad_text",
        "bad_json", "train/13",
    ]  # fmt: skip
    found = reasons(read("mm_eureka", "train", tmp_path))
    assert [row[1] if isinstance(row, tuple) else row for row in found] == expected
    assert found[0][0] == "dataset.jsonl:0"


def test_k12_freeform_is_read_as_it_is_written(tmp_path):
    png = [image(digit_png(n)) for n in range(2)]
    rows = [
        [png[:1], "<image>Find x.", "$\\sqrt{2}$"],
        [png, "<image> and <image>: find x.", "(1, 2)"],
        [png[:1], "Find x.", "3"],
        [png, "<image> Find x.", "3"],
        [[], "<image> Find x.", "3"],
        [None, "Is 2 prime?", "yes"],
        [[None], "<image> Find x.", "3"],
        [png[:1], "<image> Find x.", None],
    ]
    write_parquet(tmp_path / "data" / "mini_train-00000-of-00001.parquet", EASYR1, rows)
    found = read("k12_freeform", "mini_train", tmp_path)
    name = "data/mini_train-00000-of-00001.parquet"
    assert reasons(found) == [
        "mini_train/0", "mini_train/1", "mini_train/2", (f"{name}:3", "image_count"),
        (f"{name}:4", "image_count"), "mini_train/5", (f"{name}:6", "missing_image"),
        (f"{name}:7", "answer_null"),
    ]  # fmt: skip
    assert (found[1].images, found[1].answer) == ((digit_png(0), digit_png(1)), "(1, 2)")
    assert (found[1].source, found[1].question) == ("k12-freeform", "<image> and <image>: find x.")
    assert found[2].question == "<image>Find x."
    assert found[5].images == ()


def test_geometry3k_is_read_with_free_answers_and_with_choices(tmp_path):
    png = [image(digit_png(3))]
    write_parquet(
        tmp_path / "data" / "train-00000-of-00001.parquet",
        EASYR1,
        [[png, "<image>Find $x$.", "2 \\sqrt { 221 }"], [png, "<image><image>Find $x$.", "3"]],
    )
    choices = ["3", "4.5", "\\sqrt{2}", "9"]
    rows = [
        [7, png, "Find $x$.", choices, "C"],
        [8, png, "<image>Find $x$.", choices, "4.5"],
        [9, png, "Find $x$.", choices, "E"],
        [10, png, "Find $x$.", ["3"], "A"],
        [11, png, "Find $x$.", ["3", "3", "4"], "3"],
        [12, png, "Find $x$.", ["3", None], "A"],
        [13, png, "Find $x$.", None, "5"],
    ]
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", GEOMETRY, rows)
    free, bad = read("geometry3k", "train", tmp_path)
    assert (free.id, free.source, free.options) == ("train/0", "hiyouga/geometry3k", ())
    assert (free.answer, free.images) == ("2 \\sqrt { 221 }", (digit_png(3),))
    assert bad.reason == "image_count"
    found = read("geometry3k", "test", tmp_path)
    name = "data/test-00000-of-00001.parquet"
    assert reasons(found) == [
        "test/7", "test/8", (f"{name}:2", "letter_outside_options"), (f"{name}:3", "bad_options"),
        (f"{name}:4", "bad_options"), (f"{name}:5", "answer_null"), "test/13",
    ]  # fmt: skip
    assert found[0].options == ("A. 3", "B. 4.5", "C. \\sqrt{2}", "D. 9")
    assert [row.answer for row in (found[0], found[1], found[-1])] == ["C", "B", "5"]
    assert {row.question for row in found[:2]} == {"<image>Find $x$."}


def virl_row(qid, question, images, answer="\\boxed{A}", source="Processed", category="STEM"):
    return [answer, 0.5, 0.25, question, images, category, source, qid]


def test_virl39k_is_read_from_the_folder_and_from_the_archive(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "q1-0.jpg").write_bytes(digit_png(1))
    write_zip(tmp_path / "images.zip", {"images/q2-0.jpg": digit_png(2), "q2-1.jpg": digit_png(3)})
    rows = [
        virl_row("q1", "<image>Find x.", ["images/q1-0.jpg"], "\\boxed{\\frac{1}{2}}"),
        virl_row("q2", "<image> and <image>?", ["images/q2-0.jpg", "images/q2-1.jpg"]),
        virl_row("q3", "What is 2+2?", [], "\\boxed{4}", "DeepScaleR"),
        virl_row("q4", "Find x.", ["images/q1-0.jpg"], "7"),
        virl_row("q5", "<image>?", ["images/q2-0.jpg", "images/q2-1.jpg"]),
        virl_row("q6", "<image><image>?", ["images/q2-0.jpg"]),
        virl_row("q7", "<image>?", ["images/gone.jpg"]),
        virl_row("q8", "<image>?", ["/images/q1-0.jpg"]),
        virl_row("q9", "<image>?", ["images/../images/q2-0.jpg"]),
        virl_row("q10", "<image>?", ["images/q1-0.jpg"], "\\boxed{{x}"),
        virl_row("q1", "<image>?", ["images/q1-0.jpg"]),
    ]
    write_parquet(tmp_path / "39Krelease.parquet", VIRL, rows)
    found = read("virl39k", "train", tmp_path)
    expected = [
        "train/q1", "train/q2", "train/q3", "train/q4", "image_count", "image_count",
        "missing_image", "unsafe_path", "unsafe_path", "bad_answer", "duplicate_id",
    ]  # fmt: skip
    assert [row[1] if isinstance(row, tuple) else row for row in reasons(found)] == expected
    assert (found[0].source, found[0].answer) == ("ViRL39K", "\\frac{1}{2}")
    assert found[0].images == (digit_png(1),)
    assert found[0].metadata == {
        "category": "STEM", "origin": "Processed", "PassRate_32BTrained": 0.5,
        "PassRate_7BBase": 0.25, "mv_math": False,
    }  # fmt: skip
    assert found[1].images == (digit_png(2), digit_png(3))
    assert (found[2].images, found[2].answer, found[2].metadata["origin"]) == (
        (),
        "4",
        "DeepScaleR",
    )
    assert (found[3].question, found[3].answer) == ("<image>Find x.", "7")


@pytest.mark.parametrize(
    ("source", "category", "qid", "marked"),
    [
        ("MV-Math", "STEM", "q1", True),
        ("MV_MATH", "STEM", "q1", True),
        ("mvmath-choice", "STEM", "q1", True),
        ("Processed", "STEM", "MV-Math-17", True),
        ("Processed", "MV MATH", "q1", True),
        ("MM-Math", "STEM", "q1", False),
        ("MathVerse", "STEM", "q1", False),
        (None, None, "q1", False),
    ],
)
def test_rows_that_come_from_mv_math_are_marked(tmp_path, source, category, qid, marked):
    (tmp_path / "images").mkdir()
    row = virl_row(qid, "What is 2+2?", [], "\\boxed{4}", source, category)
    write_parquet(tmp_path / "39Krelease.parquet", VIRL, [row])
    (example,) = read("virl39k", "train", tmp_path)
    assert example.metadata["mv_math"] is marked


def test_the_image_options_of_virl39k_are_permuted_with_their_letter(tmp_path):
    names = [f"images/{n}.jpg" for n in range(5)]
    write_zip(tmp_path / "images.zip", {name: digit_png(n) for n, name in enumerate(names)})
    shown = "".join(f"\n{letter}. <image>" for letter in "ABCD")
    rows = [
        virl_row("q1", f"<image>Which one fits?{shown}", names, "\\boxed{C}"),
        virl_row("q2", "<image>Find x.", names[:1], "\\boxed{3}"),
        virl_row("q3", "<image><image>How many?\nA. 1\nB. 2", names[:2], "\\boxed{B}"),
    ]
    write_parquet(tmp_path / "39Krelease.parquet", VIRL, rows)
    examples = read("virl39k", "train", tmp_path)
    report = lint(examples, unknown="error")
    assert (report.total, report.permuted) == (3, 1)
    assert report.reasons == {"single_image": 1, "no_option_images": 1}
    own = examples[0]
    orders = orders_for(own, rule_for(own), seed=0, step=0, rate=1.0, num_orders=8).examples
    assert len(orders) == 9
    for other in orders:
        assert other.images["ABCD".index(other.answer) + 1] == digit_png(3)
        assert other.images[0] == digit_png(0)


def test_every_set_says_what_it_is():
    assert SETS.keys() == {"mmk12", "mm_eureka", "k12_freeform", "virl39k", "geometry3k"}
    licences = {name: data_set.licence for name, data_set in SETS.items()}
    assert (licences["mmk12"], licences["virl39k"], licences["geometry3k"]) == (
        "Apache-2.0", "MIT", "MIT",
    )  # fmt: skip
    for data_set in SETS.values():
        assert data_set.homepage.startswith("https://")
        assert data_set.splits
        assert data_set.files
