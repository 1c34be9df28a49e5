"""Rules first, then the judge: one that answers, refuses, cannot be reached, or has answered."""

from dataclasses import replace

import pytest

from perl_jax.evaluation.running import run
from tests.evaluation.scripted import SCRIPTED, answering, lines_of, row, task_in, write_rows
from tests.preparation.preparing import chat_server

ROWS = [row("one"), row("two", "B"), row("three", "C"), row("four")]
# Two that the rules score, two that only the judge can; it says yes to B.
RESPONSES = {"one": "A", "two": "unsure B", "three": "unsure C", "four": "C"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def says(prompt):
    return "yes" if prompt.endswith("as B?") else "no"


def scored(folder, judge=None, benchmark=SCRIPTED, responses=None):
    task = task_in(folder, write_rows(folder, ROWS), benchmark, judge=judge)
    scores = run(task, answering(responses or RESPONSES))
    return scores, [(line["prediction"], line["score"]) for line in lines_of(task.out)]


OPEN = [("A", 1.0), (None, None), (None, None), ("C", 0.0)]
JUDGED = [("A", 1.0), ("B", 1.0), (None, 0.0), ("C", 0.0)]


def test_the_judge_is_asked_what_the_rules_leave_open(tmp_path):
    with chat_server(answer=says) as chat:
        scores, lines = scored(tmp_path, chat.config())
    assert lines == JUDGED
    assert (scores["judged"], scores["unjudged"]) == (4, 0)
    assert chat.prompts == {
        "Is 'unsure B' the same as B?": 1,
        "Is 'unsure C' the same as C?": 1,
    }


def test_without_a_judge_rows_stay_unjudged_and_a_later_one_fills_them(tmp_path):
    scores, lines = scored(tmp_path)
    assert lines == OPEN
    assert (scores["judged"], scores["unjudged"], scores["overall"]) == (2, 2, 0.5)
    with chat_server(answer=says) as chat:
        assert scored(tmp_path, chat.config())[1] == JUDGED


def test_a_judge_that_cannot_be_reached_leaves_rows_unjudged_and_that_is_told_once(
    tmp_path, capsys
):
    with chat_server() as chat:
        nobody = chat.config(retries=0)
    scores, lines = scored(tmp_path, nobody)
    assert lines == OPEN
    assert scores["unjudged"] == 2
    err = capsys.readouterr().err
    assert err.count("the judge cannot be asked; rows stay unjudged: ") == 1
    with chat_server(answer=says) as chat:
        assert scored(tmp_path, chat.config())[1] == JUDGED


def test_a_judge_that_fails_is_not_asked_any_more_and_what_it_said_counts(tmp_path):
    responses = {name: f"unsure {name}" for name in RESPONSES}
    with chat_server(answer=says) as chat:
        scored(tmp_path / "first", chat.config(concurrency=1), responses=responses)
        kept = tmp_path / "first/out/judge"
    # The replies to the last two are lost, and the endpoint answers nothing any more.
    files = sorted(kept.rglob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in files[2:]:
        path.unlink()
    with chat_server(trouble=[500] * 9) as chat:
        config = chat.config(retries=0, concurrency=1)
        _, lines = scored(tmp_path / "first", config, responses=responses)
        assert len(chat.requests) == 1
    assert [score for _, score in lines] == [0.0, 1.0, None, None]


def test_a_refused_row_stays_unjudged_and_others_are_judged(tmp_path, capsys):
    with chat_server(answer=says, trouble=[400]) as chat:
        _, lines = scored(tmp_path, chat.config(concurrency=1))
    assert lines == [("A", 1.0), (None, None), (None, 0.0), ("C", 0.0)]
    assert "the judge refused 1 rows; they stay unjudged" in capsys.readouterr().err


def test_nothing_is_asked_twice(tmp_path):
    with chat_server(answer=says) as chat:
        scored(tmp_path, chat.config())
        assert scored(tmp_path, chat.config())[1] == JUDGED
        assert len(chat.requests) == 2


def test_what_a_judge_said_stays_where_none_is_given_later(tmp_path):
    with chat_server(answer=says) as chat:
        first, _ = scored(tmp_path, chat.config())
    assert scored(tmp_path) == (first, JUDGED)


def test_a_reply_that_says_nothing_leaves_the_row_unjudged(tmp_path):
    with chat_server(answer=lambda prompt: "__import__('os').abort()") as chat:
        assert scored(tmp_path, chat.config())[1] == OPEN


def test_a_benchmark_without_a_judge_asks_none(tmp_path):
    with chat_server() as chat:
        _, lines = scored(tmp_path, chat.config(), replace(SCRIPTED, judge=None))
    assert lines == OPEN
    assert chat.requests == []
