"""The whole preparation: stages on what others wrote, run again alone, and killed in the middle."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from perl_jax.data import BadRow, ParquetSource
from perl_jax.data.config import SourceConfig
from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.files import LockError
from perl_jax.preparation import run
from perl_jax.preparation.config import PrepareConfig
from perl_jax.preparation.deduplicate import DeduplicateConfig
from perl_jax.preparation.directory import read_counts
from perl_jax.preparation.filter import FilterConfig
from perl_jax.preparation.order_check import OrderConfig
from perl_jax.preparation.rephrase import RephraseConfig
from perl_jax.preparation.run import prepare
from perl_jax.preparation.split import SplitConfig
from perl_jax.preparation.stage import KeptRow, Stage, dropped, read_rows
from perl_jax.settings import read_config
from tests.preparation.preparing import Rows, chat_server, example, write_examples

pytestmark = pytest.mark.usefixtures("compiled_quickly")

REPOSITORY = Path(__file__).parent.parent.parent
DIGITS = SourceConfig(digits=DigitsConfig(rows=60))
CHEAP = PrepareConfig(
    DIGITS,
    deduplicate=DeduplicateConfig(),
    order=OrderConfig(),
    split=SplitConfig(0.2),
)


def rows_in(directory):
    source = ParquetSource(str(directory / "part-*.parquet"))
    return [source[n] for n in range(len(source))]


def files_in(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_every_stage_reads_what_the_one_before_it_wrote(tmp_path, capsys):
    config = replace(CHEAP, filter=FilterConfig(answers=("letter",), grading_workers=1))
    prepare(config, tmp_path)
    table = capsys.readouterr().out
    letters = [row for row in (Digits(DIGITS.digits)[n] for n in range(60)) if row.answer in "ABCD"]
    assert rows_in(tmp_path / "1-filter") == rows_in(tmp_path / "3-deduplicate") == letters
    marked = rows_in(tmp_path / "5-order")
    assert [row.metadata.pop("change_needed") for row in marked] == [True] * 45
    assert marked == letters
    sides = [rows_in(tmp_path / "6-split" / side) for side in ("train", "held_out")]
    assert sorted(row.id for side in sides for row in side) == sorted(row.id for row in letters)
    images = [{image for row in side for image in row.images} for side in sides]
    assert not images[0] & images[1]
    counts = read_counts(tmp_path / "1-filter")
    assert {name: counts[name] for name in ("in", "kept", "kept_as", "dropped", "bad")} == {
        "in": 60, "kept": 45, "kept_as": {"letter": 45}, "dropped": {"answer_kind": 15}, "bad": {},
    }  # fmt: skip
    lines = (tmp_path / "1-filter" / "dropped.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"train-0-{n}" for n in range(3, 60, 4)]
    (line,) = (line for line in table.splitlines() if line.startswith("1-filter"))
    assert line.split() == ["1-filter", "60", "45", "15", "0"]
    assert "answer_kind" in table


def test_a_stage_runs_again_only_where_its_rows_or_its_configuration_changed(tmp_path, capsys):
    prepare(CHEAP, tmp_path)
    first = files_in(tmp_path)
    capsys.readouterr()
    prepare(CHEAP, tmp_path)
    assert files_in(tmp_path) == first
    assert capsys.readouterr().out.count("skipped, as its rows and its configuration") == 3

    prepare(replace(CHEAP, split=SplitConfig(0.3)), tmp_path)
    printed = capsys.readouterr().out
    assert "5-order: skipped" in printed
    assert "6-split: skipped" not in printed
    assert files_in(tmp_path / "5-order").keys() == {
        "counts.json", "dropped.jsonl", "part-00000.parquet",
    }  # fmt: skip

    prepare(replace(CHEAP, source=SourceConfig(digits=DigitsConfig(rows=40))), tmp_path)
    assert "skipped" not in capsys.readouterr().out
    assert read_counts(tmp_path / "6-split")["in"] == 40
    prepare(CHEAP, tmp_path)
    assert files_in(tmp_path) == first


def test_one_stage_alone_runs_even_if_nothing_changed_and_leaves_the_others(tmp_path, capsys):
    prepare(CHEAP, tmp_path)
    first = files_in(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("counts.json")}
    capsys.readouterr()
    prepare(CHEAP, tmp_path, stage="order")
    assert "skipped" not in capsys.readouterr().out
    assert files_in(tmp_path) == first
    newer = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert newer == {"5-order"}
    with pytest.raises(ValueError, match="expected one that the configuration has, deduplicate"):
        prepare(CHEAP, tmp_path, stage="filter")
    with pytest.raises(ValueError, match="3-deduplicate: expected the rows of an earlier stage"):
        prepare(CHEAP, tmp_path / "other", stage="order")


def with_stage(monkeypatch, outcomes, rows):
    """A preparation of the one stage ``order``, which says this of hand-made rows."""
    monkeypatch.setattr(run, "STAGES", (Stage("order", outcomes),))
    monkeypatch.setattr(run, "open_source", lambda config: Rows(rows))
    return PrepareConfig(DIGITS, order=OrderConfig())


def keep_all(source, config, context):
    return (row if not hasattr(row, "id") else KeptRow(row) for row in read_rows(source))


def test_bad_rows_are_named_and_too_many_are_an_error_that_leaves_nothing(tmp_path, monkeypatch):
    bad = BadRow("missing_image", "row-bad", "it is not there")
    rows = [*(example(n) for n in range(8)), bad, example(8, question="half \ud800 <image><image>")]
    config = with_stage(monkeypatch, keep_all, rows)
    with pytest.raises(ValueError, match=r"2 of 10 rows cannot be used(.|\n)*missing_image +1"):
        prepare(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    prepare(replace(config, max_bad_fraction=0.2), tmp_path)
    counts = read_counts(tmp_path / "1-order")
    assert (counts["kept"], counts["bad"]) == (8, {"bad_text": 1, "missing_image": 1})
    lines = (tmp_path / "1-order" / "dropped.jsonl").read_text().splitlines()
    named = json.loads(lines[0])
    assert named == {
        "reason": "missing_image", "bad_row": "row-bad", "detail": "it is not there",
    }  # fmt: skip


def test_a_stage_that_keeps_no_row_is_an_error_with_the_reasons(tmp_path, monkeypatch):
    def none(source, config, context):
        return (dropped(row, "unwanted") for row in read_rows(source))

    config = with_stage(monkeypatch, none, [example(0), example(1)])
    with pytest.raises(ValueError, match=r"1-order: no row is kept of 2:\n  unwanted +2"):
        prepare(config, tmp_path)


def test_a_stage_that_fails_leaves_what_it_had_written_before(tmp_path, monkeypatch):
    config = with_stage(monkeypatch, keep_all, [example(0)])
    prepare(config, tmp_path)
    before = files_in(tmp_path)

    def failing(source, config, context):
        # More than is written at once.
        yield from (KeptRow(example(n, images=())) for n in range(100))
        raise OSError("the disk is gone")

    config = with_stage(monkeypatch, failing, [example(1)])
    with pytest.raises(OSError, match="the disk is gone"):
        prepare(config, tmp_path)
    assert files_in(tmp_path) == before


def test_a_work_directory_serves_one_preparation_at_a_time(tmp_path, monkeypatch):
    def nested(source, config, context):
        with pytest.raises(LockError, match=f"workdir {tmp_path}: in use by this process, process"):
            prepare(CHEAP, tmp_path)
        yield KeptRow(source[0])

    prepare(with_stage(monkeypatch, nested, [example(0)]), tmp_path)
    assert read_counts(tmp_path / "1-order")["kept"] == 1


PROGRAM = """
import json, sys
from perl_jax.preparation.config import PrepareConfig
from perl_jax.preparation.run import prepare
from perl_jax.settings import read_config
prepare(read_config(PrepareConfig, json.loads(sys.argv[1])), sys.argv[2])
"""


def test_a_killed_stage_leaves_nothing_and_goes_on_without_asking_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    open_ended = "one of them is upright, but the other is not"

    def answer(prompt):
        return json.dumps({"question": "<image><image> Which?", "answer": "7"})

    rows = [example(n, question=f"<image><image> {n}?", answer=open_ended) for n in range(12)]
    write_examples(rows, tmp_path / "input")
    with chat_server(answer=answer, seconds=0.3) as chat:
        config = {
            "source": {"parquet": {"paths": [str(tmp_path / "input" / "*.parquet")]}},
            "deduplicate": {},
            "rephrase": {},
            "endpoint": {"base_url": chat.url, "model": "m", "concurrency": 1},
        }
        workdir = tmp_path / "work"
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(config), str(workdir)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        while len(chat.requests) < 4 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        unfinished, *others = sorted(path.name for path in workdir.iterdir())
        assert re.fullmatch(r"\.2-rephrase\.[0-9a-f]{16}\.partial", unfinished)
        assert others == [".lock", "cache"]
        answered = len(list((workdir / "cache").rglob("*.json")))
        assert 3 <= answered < 12
        chat.seconds, asked = 0.0, sum(chat.prompts.values())
        prepare(read_config(PrepareConfig, config), workdir)
        assert sum(chat.prompts.values()) == asked + 12 - answered
    assert {path.name for path in workdir.iterdir()} == {
        ".lock", "2-rephrase", "3-deduplicate", "cache",
    }  # fmt: skip
    assert [row.answer for row in rows_in(workdir / "2-rephrase")] == ["7"] * 12


def test_the_shipped_example_is_a_configuration_of_all_stages():
    module = runpy.run_path(str(REPOSITORY / "configs" / "prepare_mantis.py"))
    config = read_config(PrepareConfig, module["get_config"]())
    assert all(getattr(config, stage.name) is not None for stage in run.STAGES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrepareConfig(DIGITS, rephrase=RephraseConfig()), "endpoint: expected one"),
        (lambda: PrepareConfig(DIGITS, order=OrderConfig(ask=True)), "endpoint: expected one"),
        (lambda: PrepareConfig(DIGITS, max_bad_fraction=2), "max_bad_fraction: expected a share"),
        (lambda: prepare(PrepareConfig(DIGITS), "unused"), "a section for at least one stage"),
    ],
)
def test_settings_that_cannot_be_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
