"""How a step grows is counted of the run's own programs."""

from dataclasses import replace

import pytest

from benchmarks import growth
from benchmarks.growth import SIZES, Amounts, amounts, main, table
from perl_jax.config import TrainConfig
from perl_jax.overrides import open_config
from perl_jax.planning.search import changed
from perl_jax.planning.workload import Workload

WORKLOAD = Workload(images=2, pixels=56 * 56, text_tokens=20, response_tokens=8, pass_rate=1.0)


@pytest.fixture(scope="module")
def run():
    config = open_config(TrainConfig, growth.CONFIG, {})
    return changed(changed(config, "rollout.groups", 4), "rollout.max_new_tokens", 32), WORKLOAD


@pytest.mark.parametrize(("name", "values"), [("rollouts", (2, 4)), ("orders", (0, 1))])
def test_twice_the_responses_are_twice_the_tokens_and_less_than_twice_the_reading(
    run, name, values
):
    one, two = (amounts(*SIZES[name].set(run, value)) for value in values)
    # Lengths are drawn, so that the sums differ a little.
    assert two.tokens == pytest.approx(2 * one.tokens, rel=0.1)
    assert one.rollouts < two.rollouts < 2 * one.rollouts
    assert one.update < two.update < 2.2 * one.update


def test_every_size_changes_the_run(run):
    for size in SIZES.values():
        first, last = (size.set(run, size.values[n]) for n in (0, -1))
        assert first != last


def test_a_line_of_a_table_has_the_amounts_in_its_units(monkeypatch, run):
    seen = []

    def scripted(config, workload):
        seen.append(config.permutation.num_orders)
        return Amounts(rollouts=2e15, update=4e15, decoding=3e12, tokens=10**6)

    monkeypatch.setattr(growth, "amounts", scripted)
    lines = list(table(replace(SIZES["orders"], values=(0, 3)), run))
    assert lines[2:] == ["| 0 | 1 | 2 | 4 | 6 | 3 |", "| 3 | 1 | 2 | 4 | 6 | 3 |"]
    assert seen == [0, 3]


def test_an_unknown_size_is_refused():
    with pytest.raises(SystemExit, match=r"expected some of rollouts, .*; got 'depth'"):
        main(["depth"])
