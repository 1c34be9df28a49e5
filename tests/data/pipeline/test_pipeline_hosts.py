"""Many hosts take what one alone would, in the same order, and count, stop and go on alike."""

import json
import logging
from collections import Counter

import pytest

from perl_jax.data import Mixture, Part, Pipeline, PipelineConfig, RowFilter
from perl_jax.data.pipeline.rows import PipelineError
from perl_jax.mesh import BatchSharding
from tests.data.pipeline.many_hosts import LAYOUTS, HostGone, Hosts
from tests.data.pipeline.numbers import Numbers, Shown, unchanged

BAD = {2: "answer_null", 3: "answer_null", 7: "bad_image", 11: "too_long", 12: "too_long"}
SEVERAL = [name for name, (_, of_host) in LAYOUTS.items() if len(of_host) > 1]
COUNTS = (1, 8, 3, 12, 5, 7)


def filtered_mixture():
    shown = Shown(20, name="a", bad={3: "bad_image", 4: "answer_null"})
    return Mixture(
        [
            Part("a", shown, 3, RowFilter(min_images=1, max_images=3)),
            Part("b", Shown(7, name="b"), 2, RowFilter(without={"even": (True,)})),
            Part("c", Numbers(11, name="c", bad={0: "bad_image"}), 1),
        ]
    )


def alone(source, *, repeat=True, **config):
    config = PipelineConfig(**{"max_bad_fraction": 0.5} | config)
    return Pipeline(source, unchanged, config, seed=5, repeat=repeat)


def single(source, counts=COUNTS, **config):
    """What one host takes, with its state after each take."""
    with alone(source, **config) as rows:
        return [([one.id for one in rows.take(count).examples], rows.state()) for count in counts]


@pytest.mark.parametrize("make", [lambda: Numbers(13, bad=BAD), filtered_mixture])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_hosts_together_take_what_one_alone_takes(layout, make):
    expected = single(make())
    with Hosts(layout, make()) as hosts:
        assert [(hosts.take(count), hosts.state()) for count in COUNTS] == expected
        counted = [(rows.rows, rows.skipped, rows.filtered) for rows in hosts.pipelines]
        assert all(rows.metrics() == hosts.pipelines[0].metrics() for rows in hosts.pipelines)
    last = expected[-1][1]
    assert counted == [(last["rows"], last["skipped"], last["filtered"])] * len(counted)
    assert last["skipped"]


@pytest.mark.parametrize("layout", SEVERAL)
def test_the_rows_of_a_feed_are_those_of_its_shards_before_any_is_left_out(layout):
    source = Numbers(40, bad=dict.fromkeys((0, 1, 5, 6, 17), "bad_image"))
    with Hosts(layout, source, shuffle=False) as hosts:
        taken = hosts.do(lambda rows: rows.take(20))
    for sharding, one in zip(hosts.shardings, taken, strict=True):
        held = [int(example.question) for example in one.examples if example is not None]
        mine = [n for n in range(25) if n % sharding.num_shards in sharding.own_shards]
        assert held == [n for n in mine if n not in source.bad]


def test_a_host_prepares_no_rows_of_others():
    seen = []

    def prepare(example):
        seen.append(int(example.question))
        return example

    sharding = BatchSharding(((0, 3), (1, 2)), (0, 1), 1)
    only_me = lambda value, what: [{"rows": value["rows"], "left_out": []}, value]  # noqa: E731
    config = PipelineConfig(shuffle=False, prefetch=4)
    with Pipeline(
        Numbers(100), prepare, config, seed=0, sharding=sharding, exchange=only_me
    ) as rows:
        held = [example is not None for example in rows.take(40).examples]
    assert held == [n % 4 in (1, 2) for n in range(40)]
    assert len(seen) <= 20 + 4 + 1
    assert {n % 4 for n in seen} == {1, 2}


@pytest.mark.reliability("F12")
@pytest.mark.parametrize("make", [lambda: Numbers(13, bad=BAD), filtered_mixture])
def test_a_state_of_two_hosts_goes_on_with_any_number_of_hosts(make):
    counts = (6, 5, 9, 4, 8)
    with Hosts("two hosts", make()) as hosts:
        states, ids = [hosts.state()], []
        for count in counts:
            ids.append(hosts.take(count))
            states.append(hosts.state())
    for layout in ("one host", "four hosts", "two feeds of two hosts", "two hosts"):
        with Hosts(layout, make(), prefetch=2) as hosts:
            for place in (3, 0, 4, 1):
                hosts.restore(states[place])
                assert hosts.state() == states[place]
                assert [hosts.take(count) for count in counts[place:]] == ids[place:]
                assert hosts.state() == states[-1]


def test_a_state_of_one_host_goes_on_with_two():
    expected = single(Numbers(13, bad=BAD))
    with Hosts("two hosts", Numbers(13, bad=BAD)) as hosts:
        hosts.restore(json.loads(json.dumps(expected[2][1])))
        assert [(hosts.take(count), hosts.state()) for count in COUNTS[3:]] == expected[3:]


def test_rows_that_are_all_good_cost_one_meeting_a_take():
    with Hosts("two hosts", Numbers(50)) as hosts:
        for taken, count in enumerate((1, 8, 32, 32), start=1):
            hosts.take(count)
            assert len(hosts.table.meetings) == taken


def test_many_rows_that_are_left_out_cost_few_meetings():
    part = Part("all", Shown(500), filters=RowFilter(min_images=4))
    with Hosts("two hosts", Mixture([part])) as hosts:
        for _ in range(10):
            hosts.take(32)
        assert hosts.pipelines[0].filtered.total() > 1200
        # A fifth of the rows is wanted: looking at no more than are missing would take over 100.
        assert len(hosts.table.meetings) < 35


def test_worker_processes_on_every_host_change_nothing():
    expected = single(Numbers(13, bad=BAD))
    with Hosts("two hosts", Numbers(13, bad=BAD), workers=1) as hosts:
        assert [(hosts.take(count), hosts.state()) for count in COUNTS] == expected


@pytest.mark.reliability("F30")
@pytest.mark.parametrize("layout", SEVERAL)
def test_rows_that_end_end_on_all_hosts_at_once(layout):
    source = Numbers(13, bad=BAD)
    expected = single(source, (5, 5, 5), repeat=False)
    assert [len(ids) for ids, _ in expected] == [5, 3, 0]
    with Hosts(layout, source, repeat=False) as hosts:
        assert [(hosts.take(5), hosts.state()) for _ in range(3)] == expected


def test_a_host_without_rows_takes_part_in_a_single_epoch():
    with Hosts("four hosts", Numbers(2), repeat=False, shuffle=False) as hosts:
        assert hosts.take(8) == ["numbers/0", "numbers/1"]
        assert hosts.take(8) == []


def errors(results):
    return [(type(result), str(result)) for result in results]


def test_a_host_whose_rows_are_all_bad_holds_up_nobody():
    source = Numbers(40, bad=dict.fromkeys(range(1, 40, 2), "bad_image"))
    with Hosts("two hosts", source, shuffle=False) as hosts:
        assert hosts.take(30) == [f"numbers/{2 * n % 40}" for n in range(30)]
        for rows in hosts.pipelines:
            assert rows.skipped == Counter(bad_image=29)


@pytest.mark.parametrize("layout", SEVERAL)
def test_too_many_bad_rows_end_all_hosts_with_the_error_of_one_alone(layout):
    source = Numbers(40, bad=dict.fromkeys((3, 5, 7), "bad_image") | {8: "too_long"})
    with alone(source, shuffle=False, max_bad_fraction=0.05) as rows:
        rows.take(20)
        state = rows.state()
        with pytest.raises(
            ValueError, match=r"(?s)4 of 40 rows .*numbers:3.*numbers:8"
        ) as expected:
            rows.take(17)
    with Hosts(layout, source, shuffle=False, max_bad_fraction=0.05) as hosts:
        hosts.take(20)
        results = hosts.do(lambda rows: rows.take(17))
        assert errors(results) == [(ValueError, str(expected.value))] * len(results)
        assert hosts.state() == state


def test_rows_that_are_all_bad_end_all_hosts():
    source = Numbers(40, bad=dict.fromkeys(range(40), "bad_image"))
    with Hosts("four hosts", source, max_bad_fraction=1.0) as hosts:
        results = hosts.do(lambda rows: rows.take(3))
    assert len(set(errors(results))) == 1
    assert "no row of a whole epoch can be used" in str(results[0])


def test_a_storage_that_fails_raises_on_the_host_that_reads_it():
    broken = Numbers(40, raising={7: OSError(5, "Input/output error")})
    with Hosts("two hosts", [Numbers(40), broken], shuffle=False) as hosts:
        hosts.take(6)
        state = hosts.state()
        results = hosts.do(lambda rows: rows.take(6))
        # The other waits in vain, until it is ended.
        assert [type(result) for result in results] == [HostGone, OSError]
        assert hosts.state() == state


def test_hosts_that_prepare_the_same_rows_must_agree_on_them():
    sources = [Numbers(40), Numbers(40, bad={3: "missing_image"})]
    with Hosts("two hosts of the same shards", sources, shuffle=False) as hosts:
        results = hosts.do(lambda rows: rows.take(6))
    assert {kind for kind, _ in errors(results)} == {PipelineError}
    for result in results:
        assert "row 3 of the order: hosts 0 and 1 both prepare it" in str(result)
        assert "missing_image" not in str(result) or "numbers:3: it is bad" in str(result)


@pytest.mark.reliability("F30")
def test_hosts_that_take_differently_are_told_so():
    with Hosts("two hosts", Numbers(40)) as hosts:
        results = hosts.do(lambda rows: rows.take(4 if rows is hosts.pipelines[0] else 5))
    assert str(results[0]).startswith("the rows of a batch: host 0 is at [0, 4], host 1 at [0, 5]")
    assert str(results[1]).startswith("the rows of a batch: host 1 is at [0, 5], host 0 at [0, 4]")


def test_the_log_of_skipped_rows_is_that_of_one_host(tmp_path):
    source = Numbers(13, bad=BAD)
    with Pipeline(
        source,
        unchanged,
        PipelineConfig(max_bad_fraction=0.5),
        seed=5,
        skip_log=tmp_path / "alone",
    ) as rows:
        for count in COUNTS:
            rows.take(count)
    expected = (tmp_path / "alone").read_text()
    with Hosts("two hosts", source, skip_log=tmp_path / "log") as hosts:
        hosts.take(COUNTS[0])
        state = hosts.state()
        for count in COUNTS[1:]:
            hosts.take(count)
    assert (tmp_path / "log").read_text() == expected
    with Hosts("four hosts", source, skip_log=tmp_path / "log") as hosts:
        hosts.restore(state)
        for count in COUNTS[1:]:
            hosts.take(count)
    assert (tmp_path / "log").read_text() == expected


def test_a_skipped_row_is_warned_of_once(caplog):
    with (
        caplog.at_level(logging.WARNING),
        Hosts("two feeds of two hosts", Numbers(13, bad=BAD), shuffle=False) as hosts,
    ):
        hosts.take(8)
    messages = sorted(record.getMessage() for record in caplog.records)
    assert messages == sorted(
        f"skipped {reason}: numbers:{n}: it is bad" for n, reason in BAD.items() if n < 11
    )


def test_messages_to_other_hosts_are_short():
    def prepare(example):
        if example.question == "3":
            raise ValueError("x" * 100_000)
        return example

    with Hosts("two hosts", Numbers(40), prepare, shuffle=False) as hosts:
        hosts.take(8)
    assert 2000 < max(len(said) for laid in hosts.table.meetings for said in laid.values()) < 3000


def test_what_needs_other_hosts_says_so():
    two = BatchSharding(((0,), (1,)), (0, 1), 0)
    with pytest.raises(ValueError, match="exchange: expected a function, as there are 2 hosts"):
        Pipeline(Numbers(4), unchanged, PipelineConfig(), seed=0, sharding=two)
    options = {"sharding": two, "exchange": lambda value, what: [value]}
    with Pipeline(Numbers(4), unchanged, PipelineConfig(), seed=0, **options) as rows:
        with pytest.raises(ValueError, match=r"expected take\(\), as 2 feeds share the rows"):
            next(rows)
        with pytest.raises(PipelineError, match="expected those of 2 hosts; got those of 1"):
            rows.take(1)
