"""Rephrasing: what a server answers becomes a row, or a reason."""

import json

import pytest

from perl_jax.endpoint import EndpointError
from perl_jax.preparation.rephrase import RephraseConfig, rephrase_rows
from perl_jax.types import Turn
from tests.preparation.preparing import (
    bad_row,
    chat_server,
    example,
    kept,
    left_out,
    run_stage,
    told,
)

OPEN = "The dog in the second image is upright."
QUESTION = "<image><image> What differs?"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def open_row(index=0, **changed):
    metadata = {"level": 3, "response": "<think>", "change_needed": True}
    return example(index, **{"question": QUESTION, "answer": OPEN, "metadata": metadata, **changed})


def says(value):
    return lambda prompt: value if isinstance(value, str) else json.dumps(value)


def choices(question="<image><image> Which is so?", answer="The dog is up", wrong=("It sits",)):
    return {"question": question, "answer": answer, "distractors": list(wrong)}


def rephrased(rows, answer, tmp_path, *, config=None, seed=0, **settings):
    with chat_server(answer=says(answer), **settings) as chat:
        outcomes = run_stage(
            rephrase_rows, rows, config or RephraseConfig(), tmp_path, seed=seed,
            endpoint=chat.config(),
        )  # fmt: skip
    return outcomes, chat


def test_an_open_question_becomes_one_with_choices(tmp_path):
    answer = choices(wrong=("The dog sits", "The dog lies", "There is no\ndog"))
    outcomes, chat = rephrased([open_row()], answer, tmp_path)
    (row,) = kept(outcomes)
    assert told(outcomes) == ["rephrased"]
    assert row.question == "<image><image> Which is so?"
    assert [option[:4] for option in row.options] == ["(A) ", "(B) ", "(C) ", "(D) "]
    texts = {"The dog is up", "The dog sits", "The dog lies", "There is no dog"}
    assert {option[4:] for option in row.options} == texts
    assert row.options["ABCD".index(row.answer)] == f"({row.answer}) The dog is up"
    was = {"question": QUESTION, "options": [], "answer": OPEN}
    assert row.metadata == {"level": 3, "rephrased_from": was}
    assert row.images == open_row().images
    (prompt,) = chat.prompts
    assert QUESTION in prompt
    assert OPEN in prompt


def test_a_question_within_a_conversation_is_not_rephrased(tmp_path):
    system, said = Turn("system", "Be brief."), Turn("assistant", "A dog.")
    rows = [open_row(0, turns=(system,)), open_row(1, turns=(system, said))]
    outcomes, chat = rephrased(rows, choices(), tmp_path)
    (row,) = kept(outcomes)
    assert row.turns == (system,)
    assert left_out(outcomes)["row-1"][0] == "several_turns"
    (prompt,) = chat.prompts
    assert "system: Be brief." in prompt


def test_every_letter_is_right_about_equally_often(tmp_path):
    rows = [open_row(n, images=example().images) for n in range(200)]
    outcomes, chat = rephrased(rows, choices(wrong=("a", "b", "c")), tmp_path)
    letters = [row.answer for row in kept(outcomes)]
    assert all(35 <= letters.count(letter) <= 65 for letter in "ABCD")
    # All rows ask the same, so the first few, which are asked at once, are the only ones.
    assert sum(chat.prompts.values()) <= 2
    again, _ = rephrased(rows, "never asked", tmp_path)
    assert again == outcomes
    other, _ = rephrased(rows, "never asked", tmp_path, seed=1)
    assert letters != [row.answer for row in kept(other)]


def test_a_short_answer_needs_no_choices(tmp_path):
    answer = choices("<image> and <image>: how many dogs?", "2", ())
    (row,) = kept(rephrased([open_row()], answer, tmp_path)[0])
    assert (row.question, row.options, row.answer) == (answer["question"], (), "2")


def test_only_open_questions_are_asked(tmp_path):
    rows = [example(0), bad_row(), open_row(1), example(2, answer="7")]
    outcomes, chat = rephrased(rows, choices(), tmp_path)
    assert told(outcomes) == ["objective", "missing_image", "rephrased", "objective"]
    assert kept(outcomes)[0] == example(0)
    assert sum(chat.prompts.values()) == 1


def test_text_around_the_answer_is_passed_over(tmp_path):
    text = f"Sure!\n```json\n{json.dumps(choices())}\n```"
    assert told(rephrased([open_row()], text, tmp_path)[0]) == ["rephrased"]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("I cannot do that.", "not a JSON object"),
        ("", "not a JSON object"),
        ('{"question": "<image>', "not a JSON object"),
        ('{"question": "<image><image>?", "answer": NaN}', "NaN is not JSON"),
        ("[1, 2]", "not a JSON object"),
        ({"question": "<image><image>?"}, "answer: expected text; got None"),
        (choices(question="Which is so?"), "expected the image placeholders of the row"),
        (choices(question="<image><image><image>?"), "expected the image placeholders"),
        (choices(wrong=("<image>",)), "a choice shows an image"),
        (choices(wrong=("the dog is up.",)), "choices that differ"),
        (choices(wrong=(" ",)), "choices that differ and say something"),
        (choices(wrong=(3,)), "distractors: expected a list of texts"),
        (choices(wrong=[f"dog {n}" for n in range(10)]), "expected 2 to 10 choices; got 11"),
        (choices(wrong=()), "answer: expected a short one, or distractors"),
        ('{"question": "<image><image> \\ud800", "answer": "7"}', "surrogates not allowed"),
    ],
)
def test_an_answer_of_another_form_is_counted_as_malformed(tmp_path, answer, detail):
    if answer == choices(wrong=()):
        answer["answer"] = OPEN
    outcomes, _ = rephrased([open_row()], answer, tmp_path)
    assert told(outcomes) == ["malformed"]
    assert detail in left_out(outcomes)["row-0"][1]


@pytest.mark.parametrize(
    ("answer", "settings", "reason"),
    [
        ({"skip": "there is no fact"}, {}, "not_rephrasable"),
        ("no", {}, "malformed"),
        ("no", {"trouble": [400]}, "refused"),
    ],
)
def test_rows_that_cannot_be_rephrased_are_dropped_or_kept_as_they_were(
    tmp_path, answer, settings, reason
):
    outcomes, _ = rephrased([open_row()], answer, tmp_path / "a", **settings)
    assert left_out(outcomes).keys() == {"row-0"}
    assert told(outcomes) == [reason]
    if settings:
        settings = {"trouble": [400]}
    keep = RephraseConfig(unusable="keep")
    outcomes, _ = rephrased([open_row()], answer, tmp_path / "b", config=keep, **settings)
    assert kept(outcomes) == [open_row()]
    assert told(outcomes) == [reason]


def test_an_endpoint_that_fails_ends_the_stage_and_keeps_its_answers(tmp_path):
    rows = [open_row(n, question=f"<image><image> {n}?") for n in range(6)]
    with pytest.raises(EndpointError, match="status 500"):
        # The first answer, then failure for good.
        rephrased(rows, choices(), tmp_path, trouble=[200, *[500] * 30])
    before = len(list((tmp_path / "cache").rglob("*.json")))
    assert before >= 1
    outcomes, chat = rephrased(rows, choices(), tmp_path)
    assert told(outcomes) == ["rephrased"] * 6
    assert sum(chat.prompts.values()) == 6 - before


def test_a_prompt_of_ones_own_takes_the_place_of_the_shipped_one(tmp_path):
    (tmp_path / "mine.txt").write_text("Price: $$1. $question / $options / $answer")
    config = RephraseConfig(prompt=str(tmp_path / "mine.txt"))
    row = open_row(options=("(A) $question", "(B) b"))
    _, chat = rephrased([row], choices(), tmp_path, config=config)
    assert list(chat.prompts) == [f"Price: $1. {QUESTION} / (A) $question\n(B) b / {OPEN}"]
    for text in ("no names", "$question $other", "$question costs $ 5"):
        (tmp_path / "mine.txt").write_text(text)
        with pytest.raises(ValueError, match=r"mine.txt: expected a prompt with \$question"):
            rephrased([row], choices(), tmp_path, config=config)
