"""The command line: a policy on benchmarks, given responses, and comparisons."""

import json

import pytest

from perl_jax.evaluate import main
from perl_jax.evaluation.sets.table import BENCHMARKS
from tests.evaluation.scripted import ROWS, SCRIPTED, lines_of, write_rows

FILES = ("predictions.jsonl", "scores.json", "table.md")


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "scripted", SCRIPTED)


@pytest.fixture
def evaluate(checkpoint, tmp_path):
    """Evaluates the tiny checkpoint on the scripted rows; returns the folder of the results."""
    path = write_rows(tmp_path)

    def run(*flags, out="out"):
        model = [f"--model={checkpoint}", "--dtype=float32", "--max_new_tokens=5"]
        main([*model, "--benchmark=scripted", f"--data={path}", f"--out={tmp_path / out}", *flags])
        return tmp_path / out

    return run


def test_a_policy_answers_every_row(evaluate, capsys):
    out = evaluate()
    lines = lines_of(out)
    assert [line["id"] for line in lines] == [row["id"] for row in ROWS]
    assert len({line["response"] for line in lines}) > 1
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["benchmark"], scores["examples"]) == ("scripted", 7)
    assert capsys.readouterr().out == f"{(out / 'table.md').read_text()}\nresults: {out}\n"
