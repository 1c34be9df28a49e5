import math
from collections import Counter

import pytest
from scipy.stats import chisquare

from perl_jax.permutation import Schedule, is_permuted, permutation_rate, sample_orders
from perl_jax.settings import read_config

SCHEDULES = [
    Schedule("constant", peak=0.3),
    Schedule("linear"),
    Schedule("power", power=3.0),
    Schedule("exponential", base=0.9),
    Schedule("cosine"),
    Schedule("linear", warmup=0.5),
]


def rates(schedule, steps, total=8):
    return [permutation_rate(step, total, schedule) for step in steps]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("constant"), [1, 1, 1, 1]),
        (Schedule("linear"), [1, 0.75, 0.5, 0]),
        (Schedule("linear", peak=0.5), [0.5, 0.375, 0.25, 0]),
        (Schedule("power", power=2.0), [1, 1 - 1 / 16, 1 - 1 / 4, 0]),
        (Schedule("power", power=0.5), [1, 0.5, 1 - math.sqrt(0.5), 0]),
        (Schedule("exponential", base=0.5), [1 - 1 / 256, 1 - 1 / 64, 1 - 1 / 16, 0]),
        (Schedule("cosine"), [1, (1 + math.sqrt(0.5)) / 2, 0.5, 0]),
        (Schedule("constant", warmup=0.5), [0, 0.5, 1, 1]),
        (Schedule("linear", warmup=0.5), [0, 0.375, 0.5, 0]),
    ],
)
def test_rates_at_the_start_a_quarter_a_half_and_the_end(schedule, expected):
    assert rates(schedule, (0, 2, 4, 8)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("step", [0, 37, 90])
def test_the_gate_follows_each_schedule_within_three_sigma(schedule, step):
    rate, draws = permutation_rate(step, 100, schedule), 10_000
    hits = sum(is_permuted(0, step, f"example-{i}", rate) for i in range(draws))
    assert abs(hits - rate * draws) <= 3 * math.sqrt(draws * rate * (1 - rate))


def test_the_gate_of_one_example_opens_and_closes_over_the_steps():
    hits = sum(is_permuted(0, step, "a", 0.4) for step in range(10_000))
    assert abs(hits - 4000) <= 3 * math.sqrt(10_000 * 0.4 * 0.6)


def test_the_orders_of_the_examples_that_pass_the_gate_are_uniform():
    passed = [str(i) for i in range(10_000) if is_permuted(3, 8, str(i), 0.25)]
    counts = Counter(tuple(sample_orders(3, 8, name, 3, 1)[0].tolist()) for name in passed)
    assert len(counts) == 5
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_the_gate_is_never_open_at_rate_zero_and_always_at_one():
    assert not any(is_permuted(0, step, "a", 0.0) for step in range(1000))
    assert all(is_permuted(0, step, "a", 1.0) for step in range(1000))


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_no_probability_is_an_error(rate):
    with pytest.raises(ValueError, match=r"rate: expected a probability"):
        is_permuted(0, 0, "a", rate)


@pytest.mark.parametrize(("step", "total"), [(-1, 10), (11, 10), (0, 0)])
def test_a_step_outside_the_run_is_an_error(step, total):
    with pytest.raises(ValueError, match="expected"):
        permutation_rate(step, total, Schedule())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "linaer"}, r"permutation.schedule.kind: expected one of constant, linear, power, "
         r"exponential, cosine; got 'linaer' \(did you mean 'linear'\?\)"),
        ({"peak": 2}, r"permutation.schedule.peak: expected a number from 0 to 1; got 2"),
        ({"peak": "1"}, r"permutation.schedule.peak: expected a number from 0 to 1; got '1'"),
        ({"peak": True}, r"permutation.schedule.peak: expected a number from 0 to 1; got True"),
        ({"power": 0}, r"permutation.schedule.power: expected a number above 0; got 0"),
        ({"base": 1.0}, r"permutation.schedule.base: expected a number between 0 and 1; got 1.0"),
        ({"warmup": 1}, r"permutation.schedule.warmup: expected a share from 0 to below 1; got 1"),
        ({"warmpu": 0.1}, r"permutation.schedule.warmpu: unknown key \(did you mean 'warmup'\?\); "
         r"expected some of kind, peak, power, base, warmup"),
        (["linear"], r"permutation.schedule: expected fields of Schedule; got \['linear'\]"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_names_the_field_and_the_choices(config, message):
    with pytest.raises(ValueError, match=message):
        read_config(Schedule, config, "permutation.schedule")


def test_a_schedule_is_read_from_a_mapping():
    schedule = read_config(Schedule, {"kind": "power", "power": 3, "warmup": 0.1})
    assert schedule == Schedule("power", power=3, warmup=0.1)
