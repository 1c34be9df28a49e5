r"""Thousands of answers, judged by hand: ``answer || truth`` on every line of a table.

An answer that begins with "R " is a whole response; the others stand in a box.
"""

from pathlib import Path

import pytest

TABLES = Path(__file__).parent / "tables"


def table(name):
    """The rows of a file by kind."""
    kinds = {}
    for line in (TABLES / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = kinds.setdefault(line[3:], [])
        elif line:
            answer, bars, truth = line.partition(" || ")
            assert bars, line
            rows.append((answer, truth))
    return kinds


DUE, NOT_DUE = table("due.txt"), table("not_due.txt")


def response(answer):
    return answer[2:] if answer.startswith("R ") else rf"So \boxed{{{answer}}}"


def others(grader, rows, wanted):
    grades = grader.grade([response(answer) for answer, _ in rows], [truth for _, truth in rows])
    return [(*row, grade) for row, grade in zip(rows, grades, strict=True) if grade.score != wanted]


@pytest.mark.parametrize("kind", DUE)
def test_the_truth_in_a_customary_form_earns_its_point(grader, kind):
    assert others(grader, DUE[kind], 1.0) == []


@pytest.mark.parametrize("kind", NOT_DUE)
def test_a_wrong_or_hedged_answer_earns_nothing(grader, kind):
    assert others(grader, NOT_DUE[kind], 0.0) == []


def test_the_tables_hold_more_than_a_thousand_answers_each():
    assert all(sum(map(len, kinds.values())) > 1000 for kinds in (DUE, NOT_DUE))
