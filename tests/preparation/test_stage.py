"""How stages go over rows: in order, in threads or without, past rows that cannot be used."""

import threading

import pytest

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.preparation.questions import ask_rows, asking_depends
from perl_jax.preparation.stage import Context, KeptRow, map_rows
from tests.preparation.preparing import Rows, bad_row, chat_server, example, kept, told

QUESTIONS = [f"<image><image> Is it {n}?" for n in range(9)]
EXAMPLES = [example(n, question=question) for n, question in enumerate(QUESTIONS)]
ROWS = Rows([EXAMPLES[0], bad_row(), *EXAMPLES[1:]])
IDS = [f"row-{n}" for n in range(9)]


@pytest.mark.parametrize("threads", [0, 3])
def test_bad_rows_stay_where_they_are_and_no_function_sees_them(threads):
    results = list(map_rows(ROWS, lambda row: row.id, threads))
    assert results[1] == Skipped("missing_image", "row-bad", "it is not there")
    assert [results[0], *results[2:]] == IDS


def test_so_many_rows_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=10)

    def meet(row):
        both.wait()
        return row.id

    assert list(map_rows(Rows([example(0), example(1)]), meet, 2)) == IDS[:2]


@pytest.mark.parametrize("threads", [0, 3])
def test_what_a_function_raises_ends_the_rows(threads):
    def fail(row):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(map_rows(ROWS, fail, threads))


def test_rows_are_asked_about_only_where_they_want_to_be(tmp_path):
    def decide(row, ask):
        return KeptRow(row, ask()["note"] if row.id in ("row-2", "row-5") else "silent")

    with chat_server(answer=lambda prompt: '{"note": "asked"}') as chat:
        context = Context(0, tmp_path, chat.config())
        outcomes = list(ask_rows(ROWS, context, "order", None, decide))
    asked = {question for question in QUESTIONS for prompt in chat.prompts if question in prompt}
    assert asked == {QUESTIONS[2], QUESTIONS[5]}
    assert [row.id for row in kept(outcomes)] == IDS
    assert told(outcomes) == [
        "silent", "missing_image", "silent", "asked", "silent", "silent", "asked", "silent",
        "silent", "silent",
    ]  # fmt: skip


def test_asking_without_an_endpoint_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="endpoint: expected one, as a stage asks it; got none"):
        list(ask_rows(ROWS, Context(0, tmp_path), "order", None, lambda row, ask: KeptRow(row)))


def test_answers_depend_on_the_prompt_the_model_and_its_parameters(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("$question?")
    with chat_server() as chat:
        base = asking_depends(Context(0, tmp_path, chat.config()), "order", None)
        same = asking_depends(Context(5, tmp_path, chat.config(concurrency=1)), "order", None)
        others = [
            asking_depends(Context(0, tmp_path, chat.config()), "order", str(prompt)),
            asking_depends(Context(0, tmp_path, chat.config()), "rephrase", None),
            asking_depends(Context(0, tmp_path, chat.config(parameters={})), "order", None),
            asking_depends(Context(0, tmp_path), "order", None),
        ]
    assert base == same
    assert base not in others
