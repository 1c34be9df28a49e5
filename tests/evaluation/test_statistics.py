"""Every statistic by hand, and the places that show it."""

import dataclasses

import pytest

from perl_jax.evaluation import STATISTICS, Evaluation, Scores
from perl_jax.training.display.curves import figure_of
from perl_jax.training.display.metrics import METRICS
from tests.evaluation.test_evaluation_results import FAILED, RIGHT, WRONG, record

FOUND = Evaluation.of(
    [
        record("a", RIGHT, True, tokens=3),
        record("a", WRONG, True, (1, 0), tokens=6, truncated=True),
        record("b", WRONG, False),
        record("b", FAILED, False, (1, 0)),
        record("c", RIGHT, source="other"),
    ]
)
BY_HAND = {
    "accuracy": 2 / 3,
    "accuracy_all_orders": (1 / 2 + 0 + 1) / 3,
    "order_consistency": 1 / 2,
    "length": 21 / 5,
    "truncated": 1 / 5,
    "unscored": 1 / 5,
    "examples": 3,
}


def test_every_statistic_has_its_example_by_hand():
    names = [field.name for field in dataclasses.fields(Scores)]
    assert {name: getattr(FOUND, name) for name in names} == pytest.approx(BY_HAND)
    assert list(STATISTICS) == names == list(BY_HAND)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_logged_under_its_documented_name(name):
    statistic, metrics = STATISTICS[name], FOUND.metrics()
    assert metrics[f"eval/{name}"] == float(getattr(FOUND, name))
    assert METRICS[f"eval/{name}"].meaning == statistic.meaning
    assert (f"eval/{name}/other" in metrics or name == "order_consistency") == statistic.by_source
    assert (f"eval/{name}/<source>" in METRICS) == statistic.by_source


def test_summary_table_and_curves_show_what_the_list_says():
    assert list(FOUND.summary()) == ["accuracy", "order_consistency", "examples"]
    headings = FOUND.table().split("\n")[0].split("  ")
    assert [word.strip() for word in headings if word.strip()] == [
        "accuracy", "all orders", "consistent", "examples",
    ]  # fmt: skip
    (axes,) = figure_of([{"step": 1, **FOUND.metrics()}]).axes
    assert [line.get_label() for line in axes.get_lines()] == ["accuracy", "order consistency"]
