"""All logs of a run together: who writes, and what a resume takes back."""

import json
from types import SimpleNamespace

from perl_jax.training.display.logs import RunLogs
from perl_jax.training.display.writers import LoggingConfig
from tests.training.display.rows import row


def logs_of(directory, resume_step=None, active=True):
    config = LoggingConfig(tensorboard=False)
    return RunLogs(directory, config, settings={}, resume_step=resume_step, active=active)


def numbered(directory):
    lines = {
        name: [json.loads(line)["step"] for line in (directory / name).read_bytes().splitlines()]
        for name in ("metrics.jsonl", "rollouts.jsonl")
    }
    return lines, sorted(file.name for file in (directory / "evaluations").iterdir())


def test_a_resume_takes_back_metrics_rollouts_and_evaluations_alike(tmp_path):
    answers = SimpleNamespace(records_as_jsonl=lambda: b'{"id": "a"}\n')
    with logs_of(tmp_path) as logs:
        for step in (1, 2, 3):
            logs.record(step, [row(0), row(1)])
            logs.keep(step, answers)
            logs.write(step, {"reward/mean": 0.5})
    with logs_of(tmp_path, resume_step=2):
        lines, files = numbered(tmp_path)
    assert lines == {"metrics.jsonl": [1, 2], "rollouts.jsonl": [1, 1, 2, 2]}
    assert files == ["step_1.jsonl", "step_2.jsonl"]
    with logs_of(tmp_path):
        assert numbered(tmp_path) == ({"metrics.jsonl": [], "rollouts.jsonl": []}, [])


def test_only_the_active_host_writes(tmp_path):
    with logs_of(tmp_path / "run", active=False) as logs:
        logs.record(1, [row()])
        logs.keep(1, SimpleNamespace(records_as_jsonl=lambda: b""))
        logs.write(1, {})
    assert not list(tmp_path.iterdir())
