"""The log of rollouts in every format, before and after a resume, and the files of steps."""

import gzip
import json

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from perl_jax.training.display.rollout_log import RolloutLog, RolloutLogConfig, StepFiles
from tests.training.display.rows import row

FORMATS = ["jsonl", "jsonl.gz", "parquet"]


def log_of(directory, **config):
    return RolloutLog(directory, RolloutLogConfig(**config))


def lines_of(content):
    return [json.loads(line) for line in content.decode().split("\n") if line]


def read(directory):
    """All rows of a run in every format, by step."""
    found = []
    if (directory / "rollouts.jsonl").exists():
        found += lines_of((directory / "rollouts.jsonl").read_bytes())
    for file in (directory / "rollouts").glob("*"):
        if file.suffix == ".gz":
            found += lines_of(gzip.decompress(file.read_bytes()))
        else:
            found += pq.read_table(file).to_pylist()
    return sorted(found, key=lambda row: (row["step"], row["group"]))


def steps(directory):
    return [row["step"] for row in read(directory)]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_holds_the_same_rows(format, tmp_path):
    log = log_of(tmp_path, format=format)
    log.take_back(-1)
    log.add(1, [row(0), row(1, outcome="too_easy")])
    log.add(2, [row(0)])
    want = [{"step": 1, **row(0)}, {"step": 1, **row(1, outcome="too_easy")}, {"step": 2, **row(0)}]
    got = read(tmp_path)
    assert [one.keys() for one in got] == [one.keys() for one in want]
    for one, other in zip(got, want, strict=True):
        # Parquet holds numbers of 32 bits.
        assert one.pop("reward")[0][0] == pytest.approx(other.pop("reward")[0][0])
        assert one == other


@pytest.mark.parametrize("format", FORMATS)
def test_a_resumed_run_takes_back_later_steps_and_writes_them_again(format, tmp_path):
    log = log_of(tmp_path, format=format)
    log.take_back(-1)
    for step in range(1, 12):
        log.add(step, [row(0), row(1)])
    resumed = log_of(tmp_path, format=format)
    resumed.take_back(9)
    assert steps(tmp_path) == sorted([*range(1, 10)] * 2)
    resumed.add(10, [row(5)])
    assert [one["group"] for one in read(tmp_path)][-1] == 5
    log_of(tmp_path, format=format).take_back(-1)
    assert steps(tmp_path) == []


def test_rows_of_an_earlier_format_are_taken_back_too(tmp_path):
    for format in FORMATS:
        log = log_of(tmp_path, format=format)
        log.take_back(3)
        log.add(3, [row()])
        log.add(4, [row()])
    log_of(tmp_path, format="jsonl").take_back(3)
    assert steps(tmp_path) == [3, 3, 3]


@pytest.mark.parametrize(("groups", "written"), [(None, 3), (2, 2), (0, 0)])
def test_no_more_groups_are_written_than_are_wanted(groups, written, tmp_path):
    for format in FORMATS:
        log = log_of(tmp_path / format, format=format, groups=groups)
        (tmp_path / format).mkdir()
        log.add(1, [row(n) for n in range(3)])
        assert [one["group"] for one in read(tmp_path / format)] == list(range(written))


def test_parquet_files_are_one_table_although_a_column_of_a_step_is_empty(tmp_path):
    log = log_of(tmp_path, format="parquet")
    nothing = [[None, None], [None, None]]
    log.add(1, [row(advantages=nothing, accuracy=nothing, images=[])])
    log.add(2, [row()])
    table = pyarrow.dataset.dataset(tmp_path / "rollouts").to_table()
    assert sorted(table.column("step").to_pylist()) == [1, 2]
    assert {len(one) for one in table.column("images").to_pylist()} == {0, 2}


def test_equal_rows_make_equal_files(tmp_path):
    for name in ("one", "other"):
        log_of(tmp_path / name, format="jsonl.gz").add(7, [row()])
    files = [tmp_path / name / "rollouts" / "step_7.jsonl.gz" for name in ("one", "other")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_only_files_of_steps_are_taken_back(tmp_path):
    files = StepFiles(tmp_path / "deep" / "evaluations", ".jsonl")
    files.take_back(-1)
    for step in (2, 10):
        files.write(step, b"{}\n")
    mine = tmp_path / "deep" / "evaluations" / "step_mine.jsonl"
    mine.write_text("notes")
    files.take_back(2)
    assert sorted(file.name for file in mine.parent.iterdir()) == ["step_2.jsonl", mine.name]


def test_a_format_that_is_not_known_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"format: .*jsonl, jsonl\.gz, parquet; got 'csv'"):
        RolloutLogConfig(format="csv")
