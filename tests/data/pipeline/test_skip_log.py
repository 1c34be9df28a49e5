"""The file of skipped rows: every one, once, whatever was killed and resumed."""

import itertools
import json

import pytest

from perl_jax.data import Mixture, ParquetSource, Part, Pipeline, PipelineConfig, RowFilter
from perl_jax.data.pipeline.rows import Skipped
from tests.data.pipeline.numbers import Numbers, Shown, numbers, unchanged
from tests.data.sources.parquet_files import verl_row, write_verl

BAD = dict.fromkeys(range(0, 120, 4), "bad_image")


def pipeline(path, source=None, **config):
    source = Numbers(120, bad=BAD) if source is None else source
    config = PipelineConfig(**{"shuffle": False, "max_bad_fraction": 0.5} | config)
    return Pipeline(source, unchanged, config, seed=0, skip_log=path)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_skipped_row_is_named_with_its_reason(tmp_path):
    path = tmp_path / "skipped_rows.jsonl"
    with pipeline(path) as rows:
        list(itertools.islice(rows, 90))
        assert rows.skipped["bad_image"] == 30
    assert lines(path) == [
        {"place": n + 1, "row": f"numbers:{n}", "reason": "bad_image", "message": "it is bad"}
        for n in BAD
    ]


def test_a_row_is_named_by_its_place_and_its_id(tmp_path):
    path = tmp_path / "skipped_rows.jsonl"
    rows = write_verl(tmp_path / "a.parquet", [verl_row(0), verl_row(1, question=" ")])
    with pipeline(path, ParquetSource(rows)) as taken:
        next(taken)
        next(taken)
    assert lines(path) == [
        {
            "place": 2,
            "row": "a.parquet:1",
            "id": "digits/train/1",
            "reason": "empty_prompt",
            "message": "the question is empty",
        }
    ]


def test_without_skipped_rows_there_is_no_file(tmp_path):
    with pipeline(tmp_path / "log", Numbers(5)) as rows:
        list(itertools.islice(rows, 12))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_from_every_state_the_file_becomes_that_of_a_run_never_stopped(tmp_path, workers):
    path = tmp_path / "log"
    with pipeline(path) as rows:
        states = [rows.state()]
        for _ in range(40):
            next(rows)
            states.append(rows.state())
    whole = path.read_bytes()
    with pipeline(path, workers=workers) as rows:
        for taken in (40, 11, 0, 25):
            rows.restore(states[taken])
            assert [line["place"] for line in lines(path)] == [
                n + 1 for n in BAD if n < states[taken]["rows"]
            ]
            list(itertools.islice(rows, 40 - taken))
            assert path.read_bytes() == whole


def test_a_run_that_starts_again_starts_the_file_again(tmp_path):
    path = tmp_path / "log"
    with pipeline(path) as rows:
        list(itertools.islice(rows, 40))
    with pipeline(path) as rows:
        next(rows)
    assert [line["place"] for line in lines(path)] == [1]


def test_a_line_that_was_cut_off_by_a_kill_is_taken_back(tmp_path):
    path = tmp_path / "log"
    with pipeline(path) as rows:
        list(itertools.islice(rows, 10))
        state = rows.state()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"place": 17, "row": "numb')
    with pipeline(path) as rows:
        rows.restore(state)
    assert path.read_bytes() == whole


def test_the_rows_that_end_a_run_are_named_until_it_goes_on(tmp_path):
    path = tmp_path / "log"
    source = Numbers(100, bad={97: "bad_image", 98: "too_long"})
    with pipeline(path, source, max_bad_fraction=0.01) as rows:
        assert numbers(itertools.islice(rows, 97))[-1] == 96
        state = rows.state()
        with pytest.raises(ValueError, match="2 of 100 rows"):
            next(rows)
    assert [line["reason"] for line in lines(path)] == ["bad_image", "too_long"]
    with pipeline(path, source, max_bad_fraction=0.02) as rows:
        rows.restore(state)
        assert lines(path) == []


def test_filtered_rows_are_not_named(tmp_path):
    path = tmp_path / "log"
    source = Shown(10, bad={7: "bad_image"})
    part = Part("all", source, filters=RowFilter(min_images=3))
    with pipeline(path, Mixture([part])) as rows:
        assert numbers(itertools.islice(rows, 4)) == [3, 4, 8, 9]
        assert rows.filtered.total() == 5
    assert [line["row"] for line in lines(path)] == ["numbers:7"]


def test_the_text_of_a_skipped_row_holds_nothing_that_a_terminal_obeys():
    row = Skipped("bad_image", "rows.jsonl:3 \x1b[2J", "no \u202eimage")
    assert str(row) == "rows.jsonl:3 \\u001b[2J: no \\u202eimage"
