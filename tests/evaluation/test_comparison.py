"""Two results compared row by row, by hand."""

import json
import math

import pytest

from perl_jax.evaluation.comparison import compare


def write(path, rows):
    """Lines of (id, task, score)."""
    lines = [
        json.dumps({"id": id, "task": task, "response": "r", "prediction": "A", "score": score})
        for id, task, score in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


A = [
    ("1", "big", 1), ("2", "big", 0.0), ("3", "big", 0.5), ("4", "big", 0.0),
    ("5", "small", 1.0), ("only a", "small", 1.0), ("unjudged", "small", None), ("un", "big", 1.0),
]  # fmt: skip
B = [
    ("only b", "small", 0.0), ("4", "big", 1.0), ("3", "big", 1.0), ("2", "big", 0.0),
    ("1", "big", 1.0), ("unjudged", "small", 1.0), ("5", "small", 0.0), ("more", "big", 0.0),
    ("un", "big", None),
]  # fmt: skip


@pytest.fixture
def found(tmp_path):
    return compare(write(tmp_path / "a.jsonl", A), write(tmp_path / "b.jsonl", B))


def test_rows_are_paired_by_their_ids(found):
    # Gains of rows 1 to 5: 0, 0, 0.5, 1, -1.
    assert (found.overall.a, found.overall.b) == pytest.approx((2.5 / 5, 3 / 5))
    assert found.overall.difference.value == pytest.approx(0.1)
    assert found.overall.difference.examples == 5
    assert (found.overall.wins, found.overall.losses, found.overall.ties) == (2, 1, 2)


def test_rows_of_one_result_or_without_a_score_are_left_out_and_counted(found):
    assert (found.only_in_a, found.only_in_b, found.unjudged) == (1, 2, 2)


def test_tasks_are_compared_alone_and_weigh_the_same_in_their_mean(found):
    assert list(found.by_task) == ["big", "small"]
    big, small = found.by_task["big"], found.by_task["small"]
    assert (big.difference.value, big.wins, big.losses, big.ties) == (1.5 / 4, 2, 0, 2)
    assert (small.difference.value, small.wins, small.losses, small.ties) == (-1, 0, 1, 0)
    mean = found.over_tasks
    assert mean.difference.value == pytest.approx((1.5 / 4 - 1) / 2)
    assert (mean.a, mean.b) == pytest.approx(((1.5 / 4 + 1) / 2, (3 / 4 + 0) / 2))
    assert (mean.wins, mean.losses, mean.ties) == (1, 1, 0)
    # One row alone is drawn always; the four others are not.
    assert (small.difference.low, small.difference.high) == (-1, -1)
    assert mean.difference.low < mean.difference.value < mean.difference.high


def test_the_interval_is_that_of_paired_rows(tmp_path):
    # Both results differ from row to row, but B is better by 1 in a tenth of the rows alone.
    n = 1000
    a = [(str(i), None, float(i % 2 and i % 10 != 1)) for i in range(n)]
    b = [(str(i), None, float(i % 2)) for i in range(n)]
    found = compare(write(tmp_path / "a" / "predictions.jsonl", a).parent, write(tmp_path / "b", b))
    one = found.overall.difference
    assert one.value == pytest.approx(0.1)
    error = 1.96 * math.sqrt(0.1 * 0.9 / n)
    assert (one.low, one.high) == pytest.approx((0.1 - error, 0.1 + error), abs=0.004)
    assert found.by_task == {}
    assert found.over_tasks is None
    again = compare(tmp_path / "a", tmp_path / "b")
    assert again.as_json() == found.as_json()
    assert compare(tmp_path / "a", tmp_path / "b", seed=1).overall.difference != one


def test_a_result_is_no_different_from_itself(tmp_path):
    file = write(tmp_path / "a.jsonl", A)
    found = compare(file, file)
    assert (found.overall.difference.value, found.overall.ties) == (0, 7)
    assert (found.overall.difference.low, found.overall.difference.high) == (0, 0)


def test_the_table_shows_percentages_and_what_was_left_out(found, tmp_path):
    lines = found.table().split("\n")
    assert lines[:2] == [f"A: {tmp_path}/a.jsonl", f"B: {tmp_path}/b.jsonl"]
    assert lines[2].split() == [
        "rows",
        "A",
        "B",
        "B",
        "-",
        "A",
        "95",
        "%",
        "wins",
        "losses",
        "ties",
    ]
    assert lines[3].split()[:5] == ["big", "4", "37.5", "75.0", "+37.5"]
    assert lines[4].split() == [
        "small", "1", "100.0", "0.0", "-100.0", "-100.0", "to", "-100.0", "0", "1", "0",
    ]  # fmt: skip
    assert lines[5].startswith("mean of tasks")
    assert lines[6].split()[:6] == ["all", "rows", "5", "50.0", "60.0", "+10.0"]
    assert len({len(line) for line in lines[2:7]}) == 1
    assert lines[7] == "left out: 1 rows only in A, 2 only in B, 2 unjudged"


def test_the_comparison_is_written_as_plain_values(found):
    values = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert values["overall"]["difference"].keys() == {"value", "low", "high", "examples"}
    assert values["over_tasks"]["wins"] == 1
    assert values["by_task"]["small"]["a"] == 1
    assert (values["only_in_a"], values["only_in_b"], values["unjudged"]) == (1, 2, 2)


def test_nothing_judged_has_no_difference(tmp_path):
    file = write(tmp_path / "a.jsonl", [("1", "t", None)])
    found = compare(file, file)
    assert (found.overall.a, found.overall.difference.value, found.unjudged) == (None, None, 1)
    assert "all rows" in found.table()


GOOD = '{"id": "1", "task": null, "score": 1}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"b\.jsonl:2: expected an object in JSON"),
        ("[]", r"b\.jsonl:2: expected an object; got list"),
        ('{"id": "2", "task": null}', r"b\.jsonl:2: expected id, task and score; missing score"),
        ('{"id": 2, "task": null, "score": 1}', r"b\.jsonl:2: id: expected a text; got 2"),
        ('{"id": "2", "task": 3, "score": 1}', r"b\.jsonl:2: task: expected a text or null; got 3"),
        ('{"id": "2", "task": null, "score": 2}', r"b\.jsonl:2: score: expected .* got 2"),
        ('{"id": "2", "task": null, "score": NaN}', r"b\.jsonl:2: score: expected .* got nan"),
        (
            f'{{"id": "2", "task": null, "score": {10**400}}}',
            r"b\.jsonl:2: score: expected .* got 1",
        ),
        ('{"id": "2", "task": null, "score": true}', r"b\.jsonl:2: score: expected .* got True"),
        (GOOD, r"b\.jsonl:2: expected each id once; '1' is at .*b\.jsonl:1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    good = tmp_path / "a.jsonl"
    good.write_text(GOOD)
    bad = tmp_path / "b.jsonl"
    bad.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        compare(good, bad)


def test_results_of_other_rows_are_an_error(tmp_path):
    a, b = write(tmp_path / "a", [("1", "t", 1)]), write(tmp_path / "b", [("2", "t", 1)])
    with pytest.raises(ValueError, match="no id is in both"):
        compare(a, b)
    other = write(tmp_path / "c", [("1", "u", 1)])
    with pytest.raises(ValueError, match=r"c:1: expected task 't' as at .*a:1; got 'u'"):
        compare(a, other)
    with pytest.raises(FileNotFoundError, match=r"predictions\.jsonl"):
        compare(tmp_path, a)
