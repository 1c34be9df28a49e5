"""A second opinion on permuted rows, from a server that speaks an endpoint's protocol."""

import json
import re

import pytest

from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.inspection.cards import Look, draw
from perl_jax.inspection.lint import main
from perl_jax.inspection.second_opinion import opened, read_verdict, second_opinions
from perl_jax.inspection.show import permuted_rows
from perl_jax.permutation import rule_for, rules_from_config
from tests.data.sources.parquet_files import write_verl
from tests.inspection.multi_image_rows import GREYS, row
from tests.preparation.preparing import chat_server

QUESTION = "<image> <image> The left image is number {}.\n(A) True\n(B) False"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def audit(tmp_path):
    """Lints three rows with a server as the auditor; returns the exit code and the JSON report."""
    rows = [
        row(n, "Mantis-Instruct-nlvr2", QUESTION.format(f"{n}{n}"), GREYS[:2], "A")
        for n in range(3)
    ]
    data, out = write_verl(tmp_path / "rows.parquet", rows), tmp_path / "found.json"

    def run(chat, *flags):
        told = [f"--audit_url={chat.url}", "--audit_model=auditor", f"--out={out}"]
        code = main([str(data), *told, *flags])
        return code, json.loads(out.read_text())["second_opinions"]

    return run


def by_row(**answers):
    """Answers by the number in the question; SAME to others."""
    return lambda prompt: answers.get(f"row{re.search(r'number (.)', prompt)[1]}", "SAME")


def test_the_endpoint_is_told_the_order_and_both_texts(audit):
    with chat_server(answer=by_row()) as chat:
        assert audit(chat, "--audit_rows=1")[1]["checked"] == 1
    ((path, body),) = chat.requests
    assert (path, body["model"]) == ("/v1/chat/completions", "auditor")
    prompt = body["messages"][0]["content"]
    assert "\nnew image 1 is old image 2\nnew image 2 is old image 1\n" in prompt
    before, after = prompt.split("Before, in the old order:\n")[1].split("\n\nAfter")
    assert before.startswith("<image> <image> The left image is number ")
    assert "The right image is number " in after
    assert before.endswith("\nAnswer: A")
    assert "\nAnswer: A\n" in after


def test_the_order_that_is_told_is_that_of_the_pictures(tmp_path):
    question = "<image><image><image>Which is brighter?\n(A) Image 1\n(B) Image 2"
    rows = [row(n, "mine", f"{question} ({n}{n})", GREYS[:3], "A") for n in range(8)]
    rule = rules_from_config({"mine": {"movable": "all"}}, "rules")
    look, orders = Look(permuted=True, rules=rule), set()
    with chat_server() as chat, opened(chat.config()) as endpoint:
        source = ParquetSource(write_verl(tmp_path / "rows.parquet", rows))
        for number in permuted_rows(source, look, 8):
            own = source[number]
            second_opinions(source, [number], look, endpoint)
            prompt = chat.requests[-1][1]["messages"][0]["content"]
            told = re.findall(r"new image (\d) is old image (\d)\n", prompt)
            order, permuted = draw(own, rule_for(own, rules=rule), look.seed)
            for new, old in told:
                assert permuted.images[int(new) - 1] == own.images[int(old) - 1]
            orders.add(order)
            assert len(told) == 3
    assert orders & {(1, 2, 0), (2, 0, 1)}  # these are not their own inverses


def test_agreement_is_counted(audit, capsys):
    with chat_server(answer=by_row()) as chat:
        code, found = audit(chat)
    assert code == 0
    assert found == {
        "model": "auditor", "checked": 3, "agreed": 3, "disagreed": [], "not_answered": []
    }  # fmt: skip
    counts = "auditor checked 3 permuted rows: 3 agreed, 0 disagreed, 0 not answered\n"
    assert capsys.readouterr().out.endswith(counts)


def test_a_disagreement_is_shown_with_both_texts_and_leaves_the_exit_code(audit, capsys):
    with chat_server(answer=by_row(row1="DIFFERENT: it is \x1b[31mthe other.")) as chat:
        code, found = audit(chat)
    assert (code, found["agreed"]) == (0, 2)
    (one,) = found["disagreed"]
    assert (one["order"], one["reason"]) == ([1, 0], "it is \x1b[31mthe other.")
    printed = capsys.readouterr().out
    assert "3 permuted rows: 2 agreed, 1 disagreed, 0 not answered\n" in printed
    reason = r"it is \u001b[31mthe other."
    assert f"disagreed on {one['example_id']}, order [1, 0]: {reason}\n" in printed
    assert "  before\n    <image> <image> The left image is number 11.\n" in printed
    assert "  after\n    <image> <image> The right image is number 11.\n" in printed
    assert printed.count("    Answer: A\n") == 2


def test_what_is_refused_or_answered_otherwise_counts_as_not_answered(audit, capsys):
    with chat_server(answer=by_row(row0="Sure!", row1="Sure!"), trouble=[400]) as chat:
        code, found = audit(chat)
    assert code == 0
    assert (found["checked"], found["disagreed"]) == (3, [])
    reasons = " ".join(one["reason"] for one in found["not_answered"])
    assert "status 400" in reasons
    assert "expected SAME, or DIFFERENT and a reason; got 'Sure!'" in reasons
    printed = capsys.readouterr().out
    for one in found["not_answered"]:
        assert f"not answered on {one['example_id']}: {one['reason']}\n" in printed


def test_an_endpoint_that_fails_is_one_line_with_its_url(audit, capsys):
    with chat_server(trouble=[401] * 3) as chat, pytest.raises(SystemExit) as end:
        audit(chat)
    assert end.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {chat.url}/chat/completions: status 401")


def test_the_key_comes_from_the_environment_and_is_looked_for_first(audit, monkeypatch, capsys):
    monkeypatch.setenv("AUDITOR_KEY", "secret")
    with chat_server(answer=by_row()) as chat:
        audit(chat, "--audit_api_key_env=AUDITOR_KEY")
        assert chat.headers[0]["Authorization"] == "Bearer secret"
        capsys.readouterr()
        monkeypatch.delenv("AUDITOR_KEY")
        with pytest.raises(SystemExit):
            audit(chat, "--audit_api_key_env=AUDITOR_KEY")
    printed = capsys.readouterr()
    assert "environment variable AUDITOR_KEY" in printed.err
    assert printed.out == ""


def test_an_endpoint_is_opened_without_answers_of_earlier_runs():
    with chat_server() as chat:
        for _ in range(2):
            with opened(chat.config()) as endpoint:
                endpoint.ask("hello")
    assert chat.prompts == {"hello": 2}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--audit_url=http://x/v1"], "--audit_url and --audit_model go together"),
        (["--audit_model=m"], "--audit_url and --audit_model go together"),
        (["--audit_api_key_env=KEY"], "--audit_api_key_env goes with --audit_url"),
        (["--audit_url=localhost:8000", "--audit_model=m"], "--audit_url: base_url: expected http"),
    ],
)
def test_flags_that_do_not_go_together_are_exit_code_2(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["digits", "--limit=1", *flags])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("SAME", (True, "")),
        (" **Same**.\n", (True, "")),
        ("<think>DIFFERENT? No.</think>\nSAME", (True, "")),
        ("DIFFERENT: B is right.", (False, "B is right.")),
        ("**DIFFERENT** - B\nis right", (False, "B\nis right")),
        ("different", (False, "no reason given")),
    ],
)
def test_a_verdict_is_one_word_and_perhaps_a_reason(answer, verdict):
    assert read_verdict(answer) == verdict


@pytest.mark.parametrize(
    "answer", ["", "SAME, but the answer is B", "Not the same", "SAMENESS", "<think>SAME or"]
)
def test_what_says_neither_is_no_verdict(answer):
    assert read_verdict(answer)[0] is None
