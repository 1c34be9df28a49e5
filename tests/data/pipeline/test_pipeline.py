"""The pipeline: its order, its state, and what becomes of bad rows."""

import itertools
import json
import logging
import threading
from collections import Counter

import numpy as np
import pytest

from perl_jax.data import ParquetSource, Pipeline, PipelineConfig, Preparer
from tests.data.pipeline.numbers import Numbers, numbers, slow_if_even, unchanged
from tests.data.sources.parquet_files import verl_row, write_verl


def pipeline(source, prepare=unchanged, *, seed=0, repeat=True, **config):
    return Pipeline(source, prepare, PipelineConfig(**config), seed=seed, repeat=repeat)


def take(rows, count):
    return numbers(itertools.islice(rows, count))


def test_every_epoch_has_every_row_once_in_an_order_of_its_own():
    with pipeline(Numbers(20)) as rows:
        epochs = [take(rows, 20) for _ in range(4)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(20))]}) == 5


def test_without_shuffling_the_order_is_that_of_the_source():
    with pipeline(Numbers(5), shuffle=False) as rows:
        assert take(rows, 12) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_the_order_is_a_function_of_the_seed():
    def two_epochs(seed):
        with pipeline(Numbers(30), seed=seed) as rows:
            return take(rows, 60)

    assert two_epochs(3) == two_epochs(3)
    orders = [two_epochs(seed) for seed in (0, 1, 2, 2**40, -1)]
    # An epoch of one seed is no epoch of another either.
    assert (
        len({tuple(order[half]) for order in orders for half in (slice(30), slice(30, 60))}) == 10
    )


@pytest.mark.parametrize("prefetch", [1, 3, 40])
def test_how_far_rows_are_prepared_ahead_does_not_change_them(prefetch):
    source = Numbers(25, bad={3: "bad", 20: "bad"})
    with pipeline(source, max_bad_fraction=0.2) as rows:
        expected = take(rows, 60)
    with pipeline(source, slow_if_even, prefetch=prefetch, max_bad_fraction=0.2) as rows:
        assert take(rows, 60) == expected


def test_rows_are_prepared_ahead_by_several_threads_but_no_further_than_asked():
    seen, together = [], threading.Barrier(3)

    def prepare(example):
        seen.append(example.id)
        if len(seen) <= 3:
            together.wait(timeout=300)
        return example

    with pipeline(Numbers(100), prepare, prefetch=6) as rows:
        next(rows)
        for _ in range(30_000):
            if len(seen) >= 7:
                break
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        assert len(seen) == 7
        assert rows.state()["rows"] == 1


def test_a_single_epoch_ends_and_stays_ended():
    with pipeline(Numbers(7), repeat=False, shuffle=False) as rows:
        assert numbers(rows) == list(range(7))
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(rows)
        state = rows.state()
    assert state["rows"] == 7
    with pipeline(Numbers(7), repeat=False, shuffle=False) as rows:
        rows.restore(state)
        assert list(rows) == []


@pytest.mark.reliability("18")
def test_a_single_row_is_repeated():
    with pipeline(Numbers(1)) as rows:
        assert take(rows, 4) == [0, 0, 0, 0]


BAD = {2: "answer_null", 3: "answer_null", 7: "bad_image", 11: "too_long"}


def bad_pipeline(**options):
    return pipeline(Numbers(13, bad=BAD), max_bad_fraction=0.5, **options)


@pytest.mark.reliability("F14")
@pytest.mark.parametrize("repeat", [True, False])
def test_every_state_leads_to_the_rest_of_the_rows(repeat):
    states, rest = [], []
    with bad_pipeline(repeat=repeat, seed=5) as rows:
        states.append(rows.state())
        for row in itertools.islice(rows, 30):
            rest.append(row.id)
            states.append(rows.state())
        last = rows.state()
    assert len(rest) == (30 if repeat else 9)
    for taken, state in enumerate(states):
        with bad_pipeline(repeat=repeat, seed=5, prefetch=1 + taken % 5) as rows:
            rows.restore(json.loads(json.dumps(state)))
            assert rows.state() == state
            assert [row.id for row in itertools.islice(rows, 30 - taken)] == rest[taken:]
            assert rows.state() == last


def test_a_pipeline_in_use_goes_back_and_forth_between_its_states():
    with bad_pipeline() as rows:
        states, taken = [rows.state()], []
        for _ in range(20):
            taken += numbers([next(rows)])
            states.append(rows.state())
        for place in (4, 17, 0, 11, 19):
            rows.restore(states[place])
            assert take(rows, 20 - place) == taken[place:]
            assert rows.state() == states[20]


def test_the_counts_of_a_state_are_the_rows_that_were_taken():
    with bad_pipeline(shuffle=False) as rows:
        take(rows, 2)
        assert (rows.rows, rows.skipped) == (2, Counter())
        take(rows, 1)
        assert (rows.rows, rows.skipped) == (5, Counter(answer_null=2))
        take(rows, 10)
        assert rows.rows == 19
        assert rows.skipped == Counter(answer_null=4, bad_image=1, too_long=1)
        assert rows.state()["skipped"] == {"answer_null": 4, "bad_image": 1, "too_long": 1}


@pytest.mark.reliability("F13")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed: was 0, is 1$"),
        ({"shuffle": False}, "shuffle: was True, is False$"),
        ({"repeat": False}, "repeat: was True, is False$"),
        ({"source": Numbers(30, name="other")}, "source: was 'numbers 30', is 'other 30'$"),
        (
            {"source": Numbers(31)},
            "source: was 'numbers 30', is 'numbers 31'; rows: was 30, is 31$",
        ),
        ({"seed": 4, "repeat": False}, "seed: was 0, is 4; repeat: was True, is False$"),
    ],
)
def test_a_state_of_another_order_is_refused_by_what_differs(changed, message):
    with pipeline(Numbers(30)) as rows:
        take(rows, 4)
        state = rows.state()
    with pipeline(**{"source": Numbers(30), **changed}) as rows:
        before = rows.state()
        with pytest.raises(ValueError, match=message):
            rows.restore(state)
        assert rows.state() == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": "4"}, "rows: expected int; got '4'"),
        ({"skipped": []}, "skipped: expected Mapping"),
        ({"order": 3}, "order: expected Mapping; got 3"),
    ],
)
def test_what_is_no_state_is_refused(changed, message):
    with pipeline(Numbers(30)) as rows:
        take(rows, 4)
        with pytest.raises(ValueError, match=message):
            rows.restore({**rows.state(), **changed})


def test_after_a_change_that_was_allowed_the_new_order_begins_and_says_so(tmp_path, caplog):
    def logged(rows):
        config = PipelineConfig(max_bad_fraction=0.5)
        log = tmp_path / "skipped_rows.jsonl"
        return Pipeline(Numbers(rows, bad=BAD), unchanged, config, seed=0, skip_log=log)

    with logged(13) as rows:
        take(rows, 20)
        state = rows.state()
    with logged(14) as rows, caplog.at_level(logging.WARNING):
        with pytest.raises(ValueError, match=r"another order of rows.*rows: was 13, is 14"):
            rows.restore(state)
        rows.restore(state, or_begin=True)
        assert rows.state()["rows"] == 0
        begun = take(rows, 8)
    assert "the new order begins at its first row, so rows seen before come again" in caplog.text
    with pipeline(Numbers(14, bad=BAD), max_bad_fraction=0.5) as rows:
        assert take(rows, 8) == begun
    # What was skipped before can still be read.
    skipped = (tmp_path / "skipped_rows.1.jsonl").read_text().splitlines()
    assert len(skipped) == sum(state["skipped"].values())


def test_a_change_that_leaves_the_order_leaves_the_place(caplog):
    with pipeline(Numbers(30)) as rows:
        take(rows, 9)
        state, rest = rows.state(), take(rows, 5)
    with pipeline(Numbers(30)) as rows:
        rows.restore(state, or_begin=True)
        assert take(rows, 5) == rest


def test_settings_that_do_not_change_the_order_may_change_between_runs():
    with pipeline(Numbers(30)) as rows:
        expected = take(rows, 20)
    with pipeline(Numbers(30)) as rows:
        take(rows, 9)
        state = rows.state()
    with pipeline(Numbers(30), slow_if_even, prefetch=2, max_bad_fraction=0.5) as rows:
        rows.restore(state)
        assert take(rows, 11) == expected[9:]


def test_bad_rows_are_named_in_the_log_up_to_a_limit(caplog):
    source = Numbers(400, bad=dict.fromkeys(range(0, 400, 2), "bad_image"))
    with (
        caplog.at_level(logging.WARNING),
        pipeline(source, shuffle=False, max_bad_fraction=0.9) as rows,
    ):
        take(rows, 3)
        assert [record.getMessage() for record in caplog.records] == [
            f"skipped bad_image: numbers:{n}: it is bad" for n in (0, 2, 4)
        ]
        take(rows, 100)
    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == "further skipped rows are only counted"


def test_too_many_bad_rows_end_the_run_with_a_table_of_reasons():
    # Of 200 rows, 2 are allowed, and 3 * sqrt(2) = 4.2 more may be chance: the seventh is not.
    bad = dict.fromkeys((0, 50, 60, 70, 190), "bad_image") | {13: "too_long", 199: "too_long"}
    with pipeline(Numbers(1000, bad=bad), shuffle=False) as rows:
        assert take(rows, 193)[-1] == 198
        with pytest.raises(ValueError, match=r"(?s)7 of 200 rows .*max_bad_fraction = 0.01") as e:
            next(rows)
    lines = str(e.value).splitlines()
    assert lines[1].split() == ["bad_image", "5", "numbers:0:", "it", "is", "bad"]
    assert lines[2].split() == ["too_long", "2", "numbers:13:", "it", "is", "bad"]


def test_chance_does_not_end_a_run_within_an_epoch():
    # 10 of 1,000 rows are bad, which is allowed; 6 of them are among the first 200.
    bad = dict.fromkeys((0, 50, 60, 70, 190, 199, 300, 400, 500, 600), "bad_image")
    with pipeline(Numbers(1000, bad=bad), shuffle=False) as rows:
        assert len(take(rows, 1700)) == 1700


def test_files_that_vanish_later_in_a_run_end_it_soon():
    source = Numbers(1000)
    with pipeline(source, shuffle=False, prefetch=1) as rows:
        take(rows, 1500)
        source.bad = dict.fromkeys(range(1000), "missing_image")
        with pytest.raises(ValueError, match=r"2[78] of 15\d\d rows cannot be used"):
            take(rows, 100)


def test_before_200_rows_only_the_end_of_an_epoch_is_judged():
    bad = {1: "bad_image", 2: "bad_image"}
    with pipeline(Numbers(100, bad=bad), shuffle=False) as rows:
        assert take(rows, 97) == [0, *range(3, 99)]
        with pytest.raises(ValueError, match=r"2 of 100 rows cannot be used"):
            next(rows)
    with pipeline(Numbers(100, bad={1: "bad_image"}), shuffle=False) as rows:
        assert len(take(rows, 300)) == 300


def test_the_end_of_a_single_epoch_is_judged_too():
    with pipeline(Numbers(30, bad={29: "bad_image"}), shuffle=False, repeat=False) as rows:
        assert take(rows, 29) == list(range(29))
        with pytest.raises(ValueError, match="1 of 30 rows"):
            next(rows)


@pytest.mark.reliability("17")
@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("max_bad_fraction", [0.01, 1.0])
def test_rows_that_are_all_bad_are_an_error_not_an_endless_search(repeat, max_bad_fraction):
    source = Numbers(40, bad=dict.fromkeys(range(40), "bad_image"))
    with (
        pipeline(source, repeat=repeat, max_bad_fraction=max_bad_fraction) as rows,
        pytest.raises(ValueError, match=r"(?s)no row of a whole epoch can be used.*bad_image +40 "),
    ):
        next(rows)


def test_a_share_of_zero_allows_no_bad_row():
    with pipeline(Numbers(300, bad={250: "bad_image"}), shuffle=False, max_bad_fraction=0) as rows:
        assert take(rows, 250) == list(range(250))
        with pytest.raises(ValueError, match="1 of 251 rows"):
            next(rows)


def test_after_an_error_the_state_is_still_what_was_taken_and_the_pipeline_is_closed():
    source = Numbers(100, bad={5: "bad_image", 6: "bad_image", 7: "bad_image"})
    with pipeline(source, shuffle=False, max_bad_fraction=0.02) as rows:
        take(rows, 96)
        state = rows.state()
        with pytest.raises(ValueError, match="3 of 100 rows"):
            next(rows)
        assert rows.state() == state
        with pytest.raises(ValueError, match="the pipeline is closed"):
            next(rows)
    with pipeline(source, shuffle=False, max_bad_fraction=0.05) as rows:
        rows.restore(state)
        assert take(rows, 2) == [99, 0]


@pytest.mark.reliability("F37")
def test_a_row_that_raises_anything_else_is_skipped_under_the_name_of_the_error(caplog):
    source = Numbers(10, raising={4: KeyError("no such field"), 6: ZeroDivisionError("oh")})
    with pipeline(source, shuffle=False, max_bad_fraction=0.2) as rows:
        assert take(rows, 9) == [0, 1, 2, 3, 5, 7, 8, 9, 0]
        assert rows.skipped == Counter(KeyError=1, ZeroDivisionError=1)
    assert "skipped ZeroDivisionError: row 6 of the source: oh" in caplog.text


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError("no more")])
def test_a_storage_that_fails_ends_the_run_and_changes_no_count(error):
    source = Numbers(10, bad={2: "bad_image"}, raising={4: error})
    with pipeline(source, shuffle=False, max_bad_fraction=0.5) as rows:
        assert take(rows, 3) == [0, 1, 3]
        state = rows.state()
        with pytest.raises(type(error)):
            next(rows)
        assert rows.state() == state
    with pipeline(Numbers(10, bad={2: "bad_image"}), shuffle=False, max_bad_fraction=0.5) as rows:
        rows.restore(state)
        assert take(rows, 2) == [4, 5]


def test_prepared_rows_of_a_file_are_those_of_a_plain_loop(tmp_path, processor):
    rows = [verl_row(n) for n in range(12)]
    rows[5] = verl_row(5, [{"bytes": b"<html>", "path": None}, rows[0]["images"][0]])
    rows[8] = verl_row(8, reward_model={"ground_truth": None})
    source = ParquetSource(write_verl(tmp_path / "a.parquet", rows, row_group_size=5))
    prepare = Preparer(processor, max_prompt_tokens=1000)
    with pipeline(source, prepare, shuffle=False, repeat=False, max_bad_fraction=0.2) as run:
        prepared = list(run)
        assert run.skipped == Counter(bad_image=1, answer_null=1)
    good = [n for n in range(12) if n not in (5, 8)]
    assert [row.metadata["index"] for row in prepared] == good
    for row, n in zip(prepared, good, strict=True):
        for image, expected in zip(row.images, prepare(source[n]).images, strict=True):
            np.testing.assert_array_equal(image.patches, expected.patches)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": -1}, "workers: expected an integer of at least 0; got -1"),
        ({"workers": True}, "workers: expected an integer of at least 0; got True"),
        ({"prefetch": 0}, "prefetch: expected an integer of at least 1; got 0"),
        ({"prefetch": 2.0}, "prefetch: expected an integer of at least 1; got 2.0"),
        ({"workers": 8, "prefetch": 4}, "prefetch: expected at least workers, 8, .* got 4"),
        ({"max_bad_fraction": 1.5}, "max_bad_fraction: expected a share from 0 to 1; got 1.5"),
        ({"max_bad_fraction": float("nan")}, "max_bad_fraction: .*; got nan"),
        ({"max_bad_fraction": "1%"}, "max_bad_fraction: .*; got '1%'"),
        ({"shuffle": "yes"}, "shuffle: expected true or false; got 'yes'"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PipelineConfig(**settings)


def test_no_rows_are_an_error_where_epochs_repeat():
    with pytest.raises(ValueError, match="expected at least one row; got 0"):
        pipeline(Numbers(0))
    with pipeline(Numbers(0), repeat=False) as rows:
        assert list(rows) == []


def test_a_take_has_what_single_rows_have_and_fewer_where_the_rows_end():
    with bad_pipeline(repeat=False) as rows:
        expected = [row.id for row in rows]
        end = rows.state()
    with bad_pipeline(repeat=False) as rows:
        sizes, ids = [], []
        for count in (1, 4, 3, 2, 5):
            taken = rows.take(count)
            assert taken.feeds == [0] * len(taken.examples)
            sizes.append(len(taken.examples))
            ids += [row.id for row in taken.examples]
        assert (sizes, ids) == ([1, 4, 3, 1, 0], expected)
        assert rows.state() == end
        with pytest.raises(ValueError, match="count: expected at least 1; got 0"):
            rows.take(0)


def test_a_take_that_fails_changes_no_count():
    bad = {5: "bad_image", 98: "bad_image"}
    with pipeline(Numbers(100, bad=bad), shuffle=False) as rows:
        rows.take(50)
        state = rows.state()
        with pytest.raises(ValueError, match="2 of 100 rows"):
            rows.take(60)
        assert rows.state() == state


def test_a_closed_pipeline_says_so_and_closes_again_without_harm():
    rows = pipeline(Numbers(5))
    take(rows, 2)
    state = rows.state()
    rows.close()
    rows.close()
    assert rows.state() == state
    for use in (lambda: next(rows), lambda: rows.take(2), lambda: rows.restore(state)):
        with pytest.raises(ValueError, match="the pipeline is closed"):
            use()
