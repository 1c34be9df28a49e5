import math
import re
from pathlib import Path

import pytest

from perl_jax.training.display.metrics import METRICS, describe, find_metric, reduce_metrics


def unknown_metrics(names):
    return [name for name in names if find_metric(name) is None]


def test_names_of_the_table_and_of_its_families_are_known():
    assert unknown_metrics(name for name in METRICS if "<" not in name) == []
    family = [
        "permutation/kept/duplicate_images",
        "skipped/missing_image",
        "reward/overlong",
        "eval/accuracy/TIGER-Lab/NLVR2",
    ]
    assert unknown_metrics(family) == []


def test_other_names_are_unknown_in_the_order_given():
    names = [
        "policy/entropie", "reward/mean", "permutation/kept", "permutation/kept/", "skipped",
        "filter/anything", "eval/accuracies/x", "reward", "step", "reward/<component>",
    ]  # fmt: skip
    assert unknown_metrics(names) == [name for name in names if name != "reward/mean"]


def test_an_interval_is_reduced_as_the_table_says():
    rows = [
        {"reward/mean": 0.0, "policy/ratio_min": 0.5, "policy/ratio_max": 1.5, "data/epoch": 0.1},
        {"reward/mean": 0.5, "policy/ratio_min": 0.2, "policy/ratio_max": 1.25, "data/epoch": 0.2,
         "skipped/bad_image": 1, "optimizer/skipped": 2, "eval/accuracy": 0.25,
         "reward/style": 3.0},
        {"reward/mean": 1.0, "policy/ratio_min": 0.75, "policy/ratio_max": 1.0, "data/epoch": 0.3,
         "skipped/bad_image": 3, "optimizer/skipped": 1, "mine": 4.0},
        {"reward/mean": 0.25, "mine": 5.0},
    ]  # fmt: skip
    assert reduce_metrics(rows) == {
        "reward/mean": 0.4375,
        "policy/ratio_min": 0.2,
        "policy/ratio_max": 1.5,
        "data/epoch": 0.3,
        "skipped/bad_image": 3,
        "optimizer/skipped": 3,
        "eval/accuracy": 0.25,
        "reward/style": 3.0,
        "mine": 4.5,
    }


def test_values_that_are_not_finite_count_as_lacking():
    nan, inf = math.nan, math.inf
    rows = [
        {"optimizer/grad_norm": 2.0, "policy/loss": nan, "rollout/length_max": inf},
        {"optimizer/grad_norm": inf, "policy/loss": inf, "rollout/length_max": 7},
        {"optimizer/grad_norm": 4.0, "optimizer/param_norm": nan},
    ]
    reduced = reduce_metrics(rows)
    assert (reduced["optimizer/grad_norm"], reduced["rollout/length_max"]) == (3.0, 7)
    assert math.isnan(reduced["policy/loss"])
    assert math.isnan(reduced["optimizer/param_norm"])


def test_one_step_reduces_to_itself():
    row = {name: 0.5 for name in METRICS if "<" not in name}
    assert reduce_metrics([row]) == row
    assert reduce_metrics([]) == {}


def test_the_described_table_has_a_row_of_four_cells_for_every_metric():
    lines = describe().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 4 and all(row) for row in cells)
    assert [row[0] for row in cells[2:]] == [f"`{name}`" for name in METRICS]
    assert cells[2] == [
        "`reward/mean`", "reward of the scored rollouts drawn, before the filter", "reward", "mean",
    ]  # fmt: skip
    assert {row[3] for row in cells[2:]} == {"mean", "sum", "min", "max", "last"}


@pytest.mark.parametrize("name", METRICS)
def test_names_are_a_group_and_a_field(name):
    assert re.fullmatch(r"[a-z]+(/([a-z_]+|<[a-z]+>))+", name)


def test_the_documented_table_is_that_of_the_code():
    documented = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert describe() in documented.read_text(encoding="utf-8")
