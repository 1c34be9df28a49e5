"""One benchmark into a folder: its files, what is skipped, and going on after an interruption."""

import json
import re
from dataclasses import replace

import pytest

from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.answerer import GivenAnswers
from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.predictions import Answers
from perl_jax.evaluation.running import run
from tests.evaluation.scripted import (
    ROWS,
    SCRIPTED,
    answering,
    evaluated,
    lines_of,
    row,
    task_in,
    write_rows,
)

# By id: right, wrong, open, none; the others answer A.
RESPONSES = {"two": "It is B", "three": "no letter", "five": "unsure"}


def test_a_line_a_row_in_the_order_of_the_data(tmp_path):
    _, lines = evaluated(tmp_path, write_rows(tmp_path), RESPONSES)
    assert [list(line) for line in lines] == [
        ["id", "task", "response", "prediction", "score"]
    ] * len(ROWS)
    assert [tuple(line.values()) for line in lines] == [
        ("one", "first", "A", "A", 1.0),
        ("two", "first", "It is B", "B", 1.0),
        ("three", "second", "no letter", None, 0.0),
        ("four", "second", "A", "A", 1.0),
        ("five", "second", "unsure", None, None),
        ("six", "first", "A", "A", 0.0),
        ("seven", "first", "A", "A", 0.0),
    ]


def test_the_scores_leave_out_the_unjudged_and_count_them(tmp_path, capsys):
    scores, _ = evaluated(tmp_path, write_rows(tmp_path), RESPONSES)
    # By task 2 of 4 and 1 of 2.
    assert scores == {
        "benchmark": "scripted",
        "overall": 0.5,
        "by_task": {"first": 0.5, "second": 0.5},
        "examples": 7,
        "judged": 6,
        "unjudged": 1,
        "skipped": {},
        "more": {"strict": 0.0},
    }
    assert json.loads((tmp_path / "out/scores.json").read_text()) == scores
    assert "scripted: 1 of 7 rows are unjudged: only a judge can say" in capsys.readouterr().err


def test_nothing_judged_has_no_score(tmp_path):
    rows = [row("one"), row("two")]
    scores, _ = evaluated(tmp_path, write_rows(tmp_path, rows), {"one": "unsure", "two": "unsure"})
    assert (scores["overall"], scores["by_task"], scores["unjudged"]) == (None, {}, 2)
    assert "NaN" not in (tmp_path / "out/scores.json").read_text()


def test_only_the_first_rows_are_asked_with_a_limit(tmp_path):
    scores, lines = evaluated(tmp_path, write_rows(tmp_path), {}, limit=3)
    assert [line["id"] for line in lines] == ["one", "two", "three"]
    assert scores["examples"] == 3


# Interruptions.


@pytest.mark.parametrize("fail_at", ["one", "four", "seven"])
def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(tmp_path, fail_at):
    path = write_rows(tmp_path)
    evaluated(tmp_path / "whole", path, RESPONSES)
    task = task_in(tmp_path, path)
    with pytest.raises(RuntimeError, match="the power failed"):
        run(task, answering(RESPONSES, fail_at=fail_at))
    before = lines_of(task.out) if fail_at != "one" else []
    assert not (task.out / "scores.json").exists()
    asked = []
    run(task, answering(RESPONSES, asked=asked))
    assert asked == [one["id"] for one in ROWS[len(before) :]]
    for name in ("predictions.jsonl", "scores.json", "table.md"):
        whole = (tmp_path / "whole/out" / name).read_bytes()
        assert (task.out / name).read_bytes() == whole


def test_a_line_that_was_cut_off_is_asked_again(tmp_path):
    path = write_rows(tmp_path)
    task = task_in(tmp_path, path)
    run(task, answering(RESPONSES))
    file = task.out / "predictions.jsonl"
    whole = file.read_bytes()
    # Within the fourth line, and within a character of it.
    fourth = whole.split(b"\n")[3]
    file.write_bytes(b"\n".join(whole.split(b"\n")[:3]) + b"\n" + fourth[:20] + b"\xc3")
    asked = []
    run(task, answering(RESPONSES, asked=asked))
    assert asked == ["four", "five", "six", "seven"]
    assert file.read_bytes() == whole


def test_the_size_of_a_batch_changes_no_byte(tmp_path):
    path = write_rows(tmp_path)
    for batch in (1, 3, 64):
        evaluated(tmp_path / str(batch), path, RESPONSES, batch=batch)
    files = {(tmp_path / str(batch) / "out/predictions.jsonl").read_bytes() for batch in (1, 3, 64)}
    assert len(files) == 1


def test_a_finished_one_is_only_scored_again(tmp_path):
    path = write_rows(tmp_path)
    run(task_in(tmp_path, path), answering(RESPONSES))
    other = replace(SCRIPTED, score=lambda example, response: Scored("X", 1.0))

    def nobody():
        raise AssertionError("nothing is left to ask")

    scores = run(task_in(tmp_path, path, benchmark=other), nobody)
    assert scores["overall"] == 1.0
    assert {line["prediction"] for line in lines_of(tmp_path / "out")} == {"X"}
    assert lines_of(tmp_path / "out")[1]["response"] == "It is B"


def test_results_of_other_settings_are_refused_with_what_differs(tmp_path):
    path = write_rows(tmp_path)
    settings = {"seed": 0, "orders": None, "temperature": 0.5}
    run(task_in(tmp_path, path, settings=settings), answering({}))
    before = (tmp_path / "out/predictions.jsonl").read_bytes()
    changed = settings | {"orders": 3, "temperature": 1.0}
    message = "orders was null, and is 3; temperature was 0.5, and is 1.0"
    with pytest.raises(ValueError, match=message) as error:
        run(task_in(tmp_path, path, settings=changed), answering({}))
    assert "seed" not in str(error.value)
    assert (tmp_path / "out/predictions.jsonl").read_bytes() == before
    (tmp_path / "out/settings.json").unlink()
    with pytest.raises(ValueError, match=r"expected settings.json beside predictions.jsonl"):
        run(task_in(tmp_path, path, settings=settings), answering({}))


def test_settings_without_results_are_replaced(tmp_path):
    path = write_rows(tmp_path)

    def failing():
        raise ValueError("no such device")

    with pytest.raises(ValueError, match="no such device"):
        run(task_in(tmp_path, path, settings={"devices": 9}), failing)
    run(task_in(tmp_path, path, settings={"devices": 1}), answering({}))
    assert json.loads((tmp_path / "out/settings.json").read_text()) == {"devices": 1}


def test_responses_to_other_rows_alone_are_an_error(tmp_path):
    task = task_in(tmp_path, write_rows(tmp_path), given=GivenAnswers({"1": "A", "2": "A"}))
    with pytest.raises(ValueError, match="expected responses to its rows, such as 'one'; got 2 to"):
        run(task, lambda: task.given)
    assert not (tmp_path / "out").exists()


def test_predictions_of_other_rows_are_an_error_that_names_the_line(tmp_path):
    run(task_in(tmp_path, write_rows(tmp_path)), answering({}))
    path = write_rows(tmp_path, [ROWS[0], ROWS[2], ROWS[1]])
    message = r"predictions.jsonl:3: expected an id of the data, in its order; got 'three'"
    with pytest.raises(ValueError, match=message):
        run(task_in(tmp_path, path), answering({}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("predictions.jsonl", '{"id": "one"}\n', "predictions.jsonl:1: expected a line that an"),
        ("predictions.jsonl", '{"id": "one", "response": 5}\n', "predictions.jsonl:1: expected a"),
        ("predictions.jsonl", '{"id": "one", "orders": []}\n', "predictions.jsonl:1: expected a"),
        ("predictions.jsonl", '{"id": "one", "orders": [1]}\n', "predictions.jsonl:1: expected a"),
        ("skipped.jsonl", '{"id": "one"}\n', "skipped.jsonl:1: expected a reason"),
        ("settings.json", "{", "settings.json: expected JSON"),
        ("settings.json", "[]", "settings.json: expected a JSON object; got list"),
        ("judge.json", "{}", "judge.json: expected the model of a judge; got None"),
    ],
)
def test_a_damaged_file_of_results_is_an_error_that_names_it(tmp_path, name, content, message):
    path = write_rows(tmp_path)
    run(task_in(tmp_path, path), answering({}))
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        run(task_in(tmp_path, path), answering({}))


# Rows that cannot be used.


def test_rows_that_cannot_be_read_or_asked_are_counted_by_reason_and_told(tmp_path, capsys):
    path = write_rows(tmp_path, [row("one"), row("one"), row("two"), row("three", "C")])
    too_large = BadRow("too_large", "two", "9 tokens")
    scores, lines = evaluated(tmp_path, path, {"two": too_large})
    assert [line["id"] for line in lines] == ["one", "three"]
    assert scores["skipped"] == {"duplicate_id": 1, "too_large": 1}
    assert scores["examples"] == 2
    err = capsys.readouterr().err
    assert "row skipped: two: too_large: 9 tokens" in err
    assert "row skipped: rows.jsonl:1: duplicate_id: " in err
    # Neither is asked again, and both still count.
    asked = []
    assert run(task_in(tmp_path, path), answering({}, asked=asked)) == scores
    assert asked == []


def test_no_usable_row_is_an_error(tmp_path):
    path = write_rows(tmp_path, [row("one"), row("two")])
    bad = {one: BadRow("too_large", one, "") for one in ("one", "two")}
    with pytest.raises(ValueError, match="none of 2 rows can be asked: too_large 2"):
        run(task_in(tmp_path, path), answering(bad))
    unreadable = replace(
        SCRIPTED, read=lambda path: iter([BadRow("bad_text", "rows:0", "no Unicode")])
    )
    with pytest.raises(ValueError, match="1 rows, and none can be read: rows:0: bad_text"):
        run(task_in(tmp_path, path, benchmark=unreadable), answering({}))
    path.write_text("")
    with pytest.raises(ValueError, match="expected rows of scripted; got none"):
        run(task_in(tmp_path, path), answering({}))


# Orders, samples and given responses.

OWN, OTHER = (0, 1, 2), (2, 0, 1)


def test_every_order_has_its_own_answer_and_score(tmp_path):
    # Under the other order the image of option A stands at B.
    answers = Answers((("A",), ("B",)), (OWN, OTHER), "unsure")
    path = write_rows(tmp_path, [row("one"), row("two", "B")])
    scores, lines = evaluated(tmp_path, path, {"one": answers, "two": answers}, orders=True)
    assert lines[0] == {
        "id": "one", "task": "first", "response": "A", "prediction": "A", "score": 1.0,
        "orders": [
            {"order": [0, 1, 2], "response": "A", "prediction": "A", "score": 1.0},
            {"order": [2, 0, 1], "response": "B", "prediction": "B", "score": 1.0},
        ],
        "again": {"response": "unsure", "prediction": None, "score": None},
    }  # fmt: skip
    assert [one["score"] for one in lines[1]["orders"]] == [0.0, 0.0]
    assert "orders" in scores


def test_several_responses_are_listed_and_score_their_mean(tmp_path):
    several = {"one": Answers((("A", "B"),)), "two": Answers((("A", "unsure"),))}
    path = write_rows(tmp_path, [row("one"), row("two")])
    scores, lines = evaluated(tmp_path, path, several)
    assert lines[0] == {
        "id": "one", "task": "first", "response": "A", "prediction": "A", "score": 0.5,
        "samples": [
            {"response": "A", "prediction": "A", "score": 1.0},
            {"response": "B", "prediction": "B", "score": 0.0},
        ],
    }  # fmt: skip
    assert lines[1]["score"] is None
    assert (scores["judged"], scores["unjudged"]) == (1, 1)
    # From its lines alone, it is scored to the same.
    before = (tmp_path / "out/predictions.jsonl").read_bytes()
    assert run(task_in(tmp_path, path), answering({})) == scores
    assert (tmp_path / "out/predictions.jsonl").read_bytes() == before


def test_a_row_without_a_given_response_scores_0_and_is_counted(tmp_path, capsys):
    given = GivenAnswers({"one": "A", "nobody": "A"})
    path = write_rows(tmp_path, [row("one"), row("two")])
    task = task_in(tmp_path, path, given=given)
    scores = run(task, lambda: given)
    assert lines_of(task.out)[1] == {
        "id": "two", "task": "first", "response": None, "prediction": None, "score": 0.0,
    }  # fmt: skip
    assert (scores["overall"], scores["unanswered"], scores["unknown_responses"]) == (0.5, 1, 1)
    err = capsys.readouterr().err
    assert "1 of 2 rows have no response and score 0" in err
    assert "1 responses are to no row that was read, such as 'nobody'" in err


def test_half_of_a_character_is_kept(tmp_path):
    path = write_rows(tmp_path, [row("one")])
    evaluated(tmp_path, path, {"one": "\ud83d A é"})
    assert lines_of(tmp_path / "out")[0]["response"] == "\ud83d A é"


def test_the_table_has_the_published_rows_and_ours(tmp_path):
    evaluated(tmp_path, write_rows(tmp_path), RESPONSES, label="mine|1")
    assert (tmp_path / "out/table.md").read_text().splitlines() == [
        "| system | scripted |",
        "| --- | ---: |",
        "| a system | 50.00 |",
        "| another \\| system | 60.25 |",
        "| **mine\\|1** | 50.00 |",
        "",
        "- Published rows: arXiv 2506.14907, table 1.",
        "- scripted: 6 rows (1 unjudged).",
    ]
