"""Rows on disk after resumes and real kills, event files, and what Weights & Biases is told."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from perl_jax.training.display.writers import LoggingConfig, MetricsWriter, read_metrics
from tests.full_disk import full_disk
from tests.training.display.rows import row
from tests.training.display.test_wandb_table import Library

FILES_ONLY = LoggingConfig(tensorboard=False)


def writer(directory, config=FILES_ONLY, **settings):
    return MetricsWriter(directory, config, run_name="run", settings={"seed": 7}, **settings)


def lines(directory):
    return (directory / "metrics.jsonl").read_text().splitlines()


def events(directory, cut=False):
    """All events of the directory's files, file by file, read from the record format itself.

    With ``cut``, a file may end within a record, as a full disk leaves it: readers stop there.
    """
    for path in sorted((directory / "tensorboard").iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            if cut and place + 8 > len(data):
                break
            (length,) = struct.unpack_from("<Q", data, place)
            if cut and place + 12 + length + 4 > len(data):
                break
            yield Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4


def scalars(directory, cut=False):
    """(step, name) -> value, as a reader sees them that heeds restarts."""
    points = {}
    for event in events(directory, cut):
        if event.session_log.status == SessionLog.START:
            points = {key: value for key, value in points.items() if key[0] < event.step}
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                points[event.step, value.tag] = value.simple_value
    return points


def test_every_step_is_one_json_object_and_there_at_once(tmp_path):
    run = writer(tmp_path / "deep" / "run")
    run.write(1, {"reward/mean": 0.5, "rollout/tokens": 12})
    assert lines(tmp_path / "deep" / "run") == [
        '{"step": 1, "reward/mean": 0.5, "rollout/tokens": 12}'
    ]
    run.write(2, {"reward/mean": np.float32(0.25), "rollout/tokens": np.int32(3)})
    assert lines(tmp_path / "deep" / "run")[1:] == [
        '{"step": 2, "reward/mean": 0.25, "rollout/tokens": 3}'
    ]
    run.close()


def test_what_is_not_finite_is_null_and_the_line_stays_json(tmp_path):
    with writer(tmp_path) as run:
        run.write(
            0, {"policy/loss": math.nan, "policy/kl": np.float32(-math.inf), "reward/mean": 1.0}
        )
    (line,) = lines(tmp_path)
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert row == {"step": 0, "policy/loss": None, "policy/kl": None, "reward/mean": 1.0}


def test_a_step_is_written_once_and_in_order(tmp_path):
    with writer(tmp_path) as run:
        run.write(3, {})
        for step in (3, 2):
            with pytest.raises(ValueError, match=f"step: expected more than 3, .* got {step}"):
                run.write(step, {})
        with pytest.raises(TypeError, match="reward/mean: expected a number; got 'high'"):
            run.write(4, {"reward/mean": "high"})
    with writer(tmp_path, resume_step=3) as run:
        run.write(4, {"reward/mean": 0.5})
        with pytest.raises(ValueError, match="more than 4"):
            run.write(4, {"policy/loss": 0.5})


def test_a_resumed_run_may_add_metrics_to_the_step_that_it_resumes_from(tmp_path):
    with writer(tmp_path) as run:
        run.write(1, {"reward/mean": 0.25})
        run.write(2, {"reward/mean": 0.5})
    with writer(tmp_path, resume_step=2) as run:
        with pytest.raises(ValueError, match="more than 2"):
            run.write(2, {"reward/mean": 0.75, "eval/accuracy": 1.0})
        run.write(2, {"eval/accuracy": 1.0})
        run.write(3, {"reward/mean": 1.0})
    assert [json.loads(line) for line in lines(tmp_path)] == [
        {"step": 1, "reward/mean": 0.25},
        {"step": 2, "reward/mean": 0.5, "eval/accuracy": 1.0},
        {"step": 3, "reward/mean": 1.0},
    ]


def test_after_the_end_nothing_can_be_written(tmp_path):
    run = writer(tmp_path)
    run.close()
    run.close()
    with pytest.raises(ValueError, match="closed file"):
        run.write(1, {"reward/mean": 0.5})
    assert lines(tmp_path) == []


def test_resuming_takes_back_later_steps_and_a_line_that_was_cut_off(tmp_path):
    with writer(tmp_path) as run:
        for step in range(6):
            run.write(step, {"reward/mean": step / 10, "policy/loss": math.nan})
    kept = lines(tmp_path)[:4]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "reward/me')
    with writer(tmp_path, resume_step=3) as run:
        assert lines(tmp_path) == kept
        run.write(4, {"reward/mean": 9.0})
    assert lines(tmp_path) == [*kept, '{"step": 4, "reward/mean": 9.0}']
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3, 4]


def test_a_run_that_starts_takes_back_all(tmp_path):
    with writer(tmp_path) as run:
        run.write(5, {"reward/mean": 0.0})
    with writer(tmp_path) as run:
        run.write(1, {"reward/mean": 1.0})
    assert lines(tmp_path) == ['{"step": 1, "reward/mean": 1.0}']


def test_reading_leaves_out_what_is_no_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 2, "a": 1}\n'
    path.write_bytes(
        good.encode() + b'\n[1]\n{"a": 1}\n\xff\xfe\n{"step": 1, "a": null}\n{"step": 3'
    )
    assert read_metrics(path) == [{"step": 1, "a": None}, {"step": 2, "a": 1}]


@pytest.mark.parametrize("value", ['"0.5"', "[1]", "{}", "1" + 400 * "0"])
def test_a_metric_that_is_no_number_is_named(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "a": 1}}\n{{"step": 2, "a": 1, "loss": {value}}}\n')
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl: step 2: loss: expected a number or null"
    ):
        read_metrics(path)


CHILD = """
import itertools, sys
from pathlib import Path
from perl_jax.training.display.writers import LoggingConfig, MetricsWriter
directory, start = Path(sys.argv[1]), int(sys.argv[2])
run = MetricsWriter(directory, LoggingConfig(tensorboard=False), run_name="run", settings={},
                    resume_step=start - 1 if start else None)
for step in itertools.count(start):
    run.write(step, {"reward/mean": step / 3})
    print(step, flush=True)
"""


def test_killed_at_any_moment_and_resumed_each_step_is_there_once(tmp_path):
    start = 0
    for kill_after in (40, 90, 130):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(start)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            for line in child.stdout:
                reported = int(line)
                if reported >= kill_after:
                    os.kill(child.pid, signal.SIGKILL)
                    break
        steps = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
        assert steps == list(range(len(steps)))  # No reported step is lost.
        assert len(steps) > reported
        start = kill_after - 15  # As if the last checkpoint were a while ago.
    with writer(tmp_path, resume_step=start - 1):
        rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows == [{"step": step, "reward/mean": step / 3} for step in range(start)]
    assert len(lines(tmp_path)) == start


def test_only_the_active_host_writes(tmp_path):
    run = writer(tmp_path / "run", LoggingConfig(), active=False)
    run.write(1, {"reward/mean": 0.5})
    run.write(1, {"reward/mean": 0.5})
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_every_finite_number_and_the_settings(tmp_path):
    with writer(tmp_path, LoggingConfig()) as run:
        run.write(1, {"reward/mean": 0.5, "policy/loss": math.nan})
        run.write(2, {"reward/mean": 0.75, "policy/loss": 2.0})
    assert scalars(tmp_path) == {
        (1, "reward/mean"): 0.5,
        (2, "reward/mean"): 0.75,
        (2, "policy/loss"): 2.0,
    }
    texts = {
        value.tag: string.decode()
        for event in events(tmp_path)
        for value in event.summary.value
        for string in value.tensor.string_val
    }
    assert texts == {"settings/text_summary": '```\n{\n  "seed": 7\n}\n```'}


def test_after_a_resume_tensorboard_shows_the_steps_that_count(tmp_path):
    with writer(tmp_path, LoggingConfig()) as run:
        for step in range(1, 7):
            run.write(step, {"reward/mean": 1.0})
    with writer(tmp_path, LoggingConfig(), resume_step=3) as run:
        for step in range(4, 6):
            run.write(step, {"reward/mean": 2.0})
    values = [value for _, value in sorted(scalars(tmp_path).items())]
    assert values == [1.0, 1.0, 1.0, 2.0, 2.0]


@pytest.mark.reliability("F4")
def test_a_disk_without_room_for_event_files_is_an_error_and_nobody_waits(tmp_path):
    with writer(tmp_path, LoggingConfig()) as run:
        run.write(1, {"reward/mean": 1.0})
    metrics = {f"reward/{n}": 1.0 for n in range(500)}

    def go_on():
        with writer(tmp_path, LoggingConfig(), resume_step=1) as run, full_disk(50_000):
            for step in range(2, 20):
                run.write(step, metrics)
                # It is the event file that has no room.
                (tmp_path / "metrics.jsonl").write_text("")

    with pytest.raises(OSError, match="File too large"):
        go_on()
    with writer(tmp_path, LoggingConfig(), resume_step=1) as run:
        run.write(2, {"reward/mean": 2.0})
    assert scalars(tmp_path, cut=True)[2, "reward/mean"] == 2.0


def test_longer_intervals_get_one_point_each_with_and_without_a_resume(tmp_path):
    # Interval 1 to 4: mean 2.5, last 40. Interval 5 to 8: mean 6.5, last 80. Then 9 alone.
    metrics = lambda step: {"reward/mean": float(step), "data/epoch": 10.0 * step}  # noqa: E731
    config = LoggingConfig(every=4)
    with writer(tmp_path / "whole", config) as run:
        for step in range(10):
            run.write(step, metrics(step))
    want = {
        (step, name): value
        for step, mean, last in ((0, 0.0, 0.0), (4, 2.5, 40.0), (8, 6.5, 80.0), (9, 9.0, 90.0))
        for name, value in (("reward/mean", mean), ("data/epoch", last))
    }
    assert scalars(tmp_path / "whole") == want
    with writer(tmp_path / "resumed", config) as run:
        for step in range(7):
            run.write(step, metrics(step))
    with writer(tmp_path / "resumed", config, resume_step=6) as run:
        for step in range(7, 10):
            run.write(step, metrics(step))
    # The first part ended in the middle of an interval, of which it wrote what there was.
    part = {(6, "reward/mean"): 5.5, (6, "data/epoch"): 60.0}
    assert scalars(tmp_path / "resumed") == want | part
    assert lines(tmp_path / "whole") == lines(tmp_path / "resumed")


def test_a_missing_wandb_is_named_with_its_cure_and_takes_nothing_back(tmp_path, monkeypatch):
    with writer(tmp_path) as run:
        run.write(1, {"reward/mean": 0.5})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        writer(tmp_path, LoggingConfig(wandb=True))
    assert len(lines(tmp_path)) == 1


class RecordingWandB(types.ModuleType):
    """Stands in for the library, which needs an account: it records what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.told = []
        self.Table, self.Image = Library.Table, Library.Image

    def init(self, **settings):
        self.told.append(("init", settings))
        return self

    @property
    def id(self):
        return "abc123"

    def log(self, metrics, step):
        self.told.append(("log", step, metrics))

    def finish(self):
        self.told.append(("finish",))


def test_wandb_is_told_the_run_its_settings_and_numbers_and_resumes_the_same_run(
    tmp_path, monkeypatch
):
    wandb = RecordingWandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = LoggingConfig(tensorboard=False, wandb=True, wandb_project="digits")
    with writer(tmp_path, config) as run:
        run.write(1, {"reward/mean": 0.5, "policy/kl": math.inf})
    with writer(tmp_path, config, resume_step=1) as run:
        run.write(2, {"reward/mean": 0.75})
    writer(tmp_path, config).close()
    same = {"project": "digits", "name": "run", "config": {"seed": 7}, "dir": str(tmp_path)}
    assert wandb.told == [
        ("init", {**same, "id": None, "resume": None}),
        ("log", 1, {"reward/mean": 0.5}),
        ("finish",),
        ("init", {**same, "id": "abc123", "resume": "allow"}),
        ("log", 2, {"reward/mean": 0.75}),
        ("finish",),
        ("init", {**same, "id": None, "resume": None}),
        ("finish",),
    ]


def test_wandb_is_shown_a_table_of_rollouts_after_the_first_step_and_every_tenth(
    tmp_path, monkeypatch
):
    wandb = RecordingWandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with writer(tmp_path, LoggingConfig(tensorboard=False, wandb=True)) as run:
        for step in range(1, 21):
            run.show(step, [row()])
            run.write(step, {"reward/mean": 0.5})
        run.show(30, [])
    told = [(step, logged) for name, step, logged in wandb.told[1:-1]]
    tables = [(step, logged["rollouts"]) for step, logged in told if "rollouts" in logged]
    assert [step for step, _ in tables] == [1, 10, 20]
    assert [len(table.rows) for _, table in tables] == [4, 4, 4]
    # The library takes no step after a later one.
    assert [step for step, _ in told] == sorted(step for step, _ in told)


def test_settings_out_of_range_are_refused():
    for every in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="every: expected an integer of at least 1; got"):
            LoggingConfig(every=every)
    with pytest.raises(ValueError, match="wandb_project: expected a name"):
        LoggingConfig(wandb=True, wandb_project="")


def test_a_disk_that_is_full_is_an_error_at_the_step(tmp_path):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))" + CHILD
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "0"], capture_output=True, text=True
    )
    assert child.returncode == 1
    assert "OSError: [Errno 27] File too large" in child.stderr
    reported = [int(line) for line in child.stdout.split()]
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == reported == [0, 1]
