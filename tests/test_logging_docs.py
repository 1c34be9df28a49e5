"""docs/logging.md says what a run leaves, and its example runs as it stands."""

import json
import re
from pathlib import Path

from perl_jax.evaluation.records import Record
from perl_jax.rewards import Grade
from perl_jax.training.display.rollout_log import RolloutLog, RolloutLogConfig
from tests.training.display.rows import row

PAGE = (Path(__file__).parent.parent / "docs" / "logging.md").read_text(encoding="utf-8")


def section(heading):
    return PAGE.split(f"### `{heading}`\n")[1].split("\n##")[0]


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    log = RolloutLog(tmp_path / "runs" / "demo", RolloutLogConfig())
    log.add(1, [row(accuracy=[[0.0, 0.0], [0.0, 0.0]])])
    log.add(2, [row()])
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(example, "docs/logging.md", "exec"), {})
    printed = capsys.readouterr().out
    # Two of three graded responses of the last step are right.
    assert re.search(r"digits +0\.666", printed)
    assert "First?" in printed


def test_the_parquet_example_reads_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = RolloutLog(tmp_path / "runs" / "demo", RolloutLogConfig(format="parquet"))
    for step in (1, 2):
        log.add(step, [row()])
    (example,) = re.findall(r'^python -c "(.*)"$', PAGE, re.MULTILINE)
    exec(compile(example, "docs/logging.md", "exec"), {})
    assert re.search(r"kept +2", capsys.readouterr().out)


def test_every_field_of_a_group_is_explained():
    told = set()
    for line in section("rollouts.jsonl").splitlines():
        if line.startswith("| `"):
            told |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert told == {"step", *row()}


def test_every_field_of_an_answer_is_explained():
    grade = Grade(1.0, "scored", "exact")
    record = Record("a", "s", "k", (0,), 0, "r", "A", "A", grade, None, 1, False).as_json()
    told = set(re.findall(r"`(\w+)`", section("evaluations/step_N.jsonl")))
    # The kind and the source make the task.
    assert json.loads(json.dumps(record)).keys() - told == {"kind", "source"}
