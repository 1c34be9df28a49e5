"""Every statistic by hand, and the places that show it."""

import dataclasses

import pytest

from perl_jax.evaluation.results import Evaluation
from perl_jax.evaluation.statistics import STATISTICS, Scores
from perl_jax.training.display.curves import figure_of
from perl_jax.training.display.metrics import METRICS
from tests.evaluation.test_evaluation_results import FAILED, RIGHT, WRONG, record

FOUND = Evaluation.of(
    [
        record("a", RIGHT, True, tokens=3, flips=0.5, slot=0, true_slot=0),
        record("a", WRONG, True, (1, 0), tokens=6, truncated=True, flips=0.25, slot=0, true_slot=1),
        record("b", WRONG, False, flips=0.0),
        record("b", FAILED, False, (1, 0), flips=1.0),
        record("c", RIGHT, source="other"),
    ]
)
BY_HAND = {
    "accuracy": 2 / 3,
    "accuracy_all_orders": (1 / 2 + 0 + 1) / 3,
    "order_consistency": 1 / 2,
    "all_orders_right": (0 + 1) / 2,
    "flip_rate": (0.25 + 1) / 2,
    "noise_floor": (0.5 + 0) / 2,
    "slot_bias": 1 - 1 / 2,
    "length": 21 / 5,
    "truncated": 1 / 5,
    "unscored": 1 / 5,
    "examples": 3,
}


def test_every_statistic_has_its_example_by_hand():
    names = [field.name for field in dataclasses.fields(Scores)]
    assert {name: getattr(FOUND, name) for name in names} == pytest.approx(BY_HAND)
    assert list(STATISTICS) == names == list(BY_HAND)


# The example of the other source has one order only.
OF_SEVERAL_ORDERS = ("order_consistency", "flip_rate", "noise_floor", "slot_bias")


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_logged_under_its_documented_name(name):
    statistic, metrics = STATISTICS[name], FOUND.metrics()
    assert metrics[f"eval/{name}"] == float(getattr(FOUND, name))
    assert METRICS[f"eval/{name}"].meaning == statistic.meaning
    assert (f"eval/{name}/s" in metrics) == statistic.by_source
    in_other = statistic.by_source and name not in OF_SEVERAL_ORDERS
    assert (f"eval/{name}/other" in metrics) == in_other
    assert (f"eval/{name}/<source>" in METRICS) == statistic.by_source


def test_summary_table_and_curves_show_what_the_list_says():
    assert list(FOUND.summary()) == ["accuracy", "order_consistency", "examples"]
    headings = FOUND.table().split("\n")[0].split("  ")
    assert [word.strip() for word in headings if word.strip()] == [
        "accuracy", "all orders", "consistent", "every order", "flips", "noise", "slot bias",
        "examples",
    ]  # fmt: skip
    figure = figure_of([{"step": 1, **FOUND.metrics()}])
    assert {
        axes.get_title(): [line.get_label() for line in axes.get_lines()] for axes in figure.axes
    } == {
        "Held-out examples": ["accuracy", "order consistency"],
        "Held-out examples: sensitivity to order": ["flip rate", "noise floor", "slot bias"],
    }
