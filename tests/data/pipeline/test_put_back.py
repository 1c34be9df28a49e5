"""Examples that are put back: the pipeline is as if they had never been taken, but for the work."""

import json
import logging

import numpy as np
import pytest

from perl_jax.data import Mixture, Part, Pipeline, PipelineConfig, RowFilter
from tests.data.pipeline.many_hosts import LAYOUTS, Hosts
from tests.data.pipeline.numbers import Numbers, Shown, unchanged

BAD = {2: "answer_null", 3: "answer_null", 7: "bad_image", 11: "too_long", 12: "too_long"}
# Examples taken ahead, how many of them are put back, and so on.
STEPS = (((8,), 3), ((5, 4), 7), ((1,), 0), ((12, 3, 1), 15), ((6,), 6), ((9,), 4))


def mixture():
    return Mixture(
        [
            Part("a", Shown(20, name="a", bad={3: "bad_image"}), 3, RowFilter(max_images=3)),
            Part("b", Shown(7, name="b"), 2, RowFilter(without={"even": (True,)})),
        ]
    )


def sources():
    return {"bad rows": Numbers(17, bad=BAD), "mixture": mixture()}


def pipeline(source, prepare=unchanged, path=None, **config):
    config = PipelineConfig(**{"max_bad_fraction": 0.5} | config)
    return Pipeline(source, prepare, config, seed=5, skip_log=path)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("name", sources())
def test_the_place_counts_and_log_are_those_of_the_used_examples_alone(name, tmp_path):
    source, ahead, plain = sources()[name], tmp_path / "ahead", tmp_path / "plain"
    with pipeline(source, path=ahead) as rows, pipeline(source, path=plain) as expected:
        for counts, back in STEPS:
            taken = [one for count in counts for one in rows.take_ahead(count).examples]
            rows.put_back(back)
            used = sum(counts) - back
            if used:
                wanted = expected.take(used).examples
                assert [one.id for one in taken[:used]] == [one.id for one in wanted]
            assert rows.state() == expected.state()
            assert rows.metrics() == expected.metrics()
            assert lines(ahead) == lines(plain)
    assert rows.skipped or rows.filtered


@pytest.mark.parametrize("name", sources())
@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_hosts_put_back_what_one_alone_would(layout, name):
    source = sources()[name]
    with pipeline(source) as alone, Hosts(layout, source) as hosts:
        for counts, back in STEPS:
            for count in counts:
                found = hosts.do(lambda rows, count=count: rows.take_ahead(count).examples)
                wanted = [one.id for one in alone.take_ahead(count).examples]
                for held in found:
                    pairs = zip(held, wanted, strict=True)
                    assert all(one is None or one.id == id for one, id in pairs)
            hosts.do(lambda rows, back=back: rows.put_back(back))
            alone.put_back(back)
            assert hosts.state() == alone.state()
        assert hosts.take(20) == [one.id for one in alone.take(20).examples]


def test_random_draws_use_every_example_once():
    rng = np.random.default_rng(0)
    with pipeline(mixture()) as plain:
        expected = [one.id for one in plain.take(400).examples]
    used = []
    with pipeline(mixture(), prefetch=3) as rows:
        while len(used) < 300:
            taken = []
            for _ in range(int(rng.integers(1, 4))):
                taken += rows.take_ahead(int(rng.integers(1, 12))).examples
            back = int(rng.integers(0, len(taken) + 1))
            rows.put_back(back)
            used += [one.id for one in taken[: len(taken) - back]]
            if rng.random() < 0.2:
                rows.restore(json.loads(json.dumps(rows.state())))
    assert used == expected[: len(used)]


def test_what_was_put_back_is_not_prepared_again():
    prepared = []

    def prepare(example):
        prepared.append(example.id)
        return example

    with pipeline(Numbers(40), prepare, prefetch=1, shuffle=False) as rows:
        taken = rows.take_ahead(10).examples
        rows.put_back(6)
        again = rows.take_ahead(6).examples
    assert all(one is other for one, other in zip(taken[4:], again, strict=True))
    assert len(prepared) == len(set(prepared))


def test_a_row_that_comes_again_is_warned_of_once(caplog):
    caplog.set_level(logging.WARNING)
    with pipeline(Numbers(100, bad={3: "bad"}), shuffle=False) as rows:
        for _ in range(3):
            rows.take_ahead(8)
            rows.put_back(8)
        assert rows.skipped == {}
        rows.take(8)
        assert rows.skipped == {"bad": 1}
    assert len(caplog.records) == 1


def test_a_part_whose_rows_are_all_skipped_ends_the_run_however_often_rows_come_again():
    source = Mixture(
        [Part("a", Numbers(50)), Part("b", Numbers(6, bad=dict.fromkeys(range(6), "x")))]
    )
    with pipeline(source) as rows:
        for _ in range(4):
            rows.take_ahead(4)
            rows.put_back(4)
        with pytest.raises(ValueError, match="no row of a whole epoch of 'b' can be used"):
            rows.take(12)


def test_only_what_was_taken_ahead_can_be_put_back():
    with pipeline(Numbers(100)) as rows:
        rows.take(5)
        with pytest.raises(ValueError, match="expected 0 to 0 examples taken ahead; got 1"):
            rows.put_back(1)
        rows.take_ahead(3)
        rows.put_back(1)
        with pytest.raises(ValueError, match="expected 0 to 0 examples taken ahead; got 1"):
            rows.put_back(1)
