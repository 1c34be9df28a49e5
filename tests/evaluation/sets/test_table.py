"""What every benchmark has: documentation, a permutation rule, a test."""

from pathlib import Path

import pytest

from perl_jax.evaluation.sets.table import BENCHMARKS
from perl_jax.permutation import BUILT_IN

ROOT = Path(__file__).parents[3]
ONE_IMAGE = ("mathvista", "mathverse", "mathvision")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_documented_and_tested_and_has_a_rule(name):
    assert f"\n| `{name}` | " in (ROOT / "docs/evaluation.md").read_text()
    assert name in ONE_IMAGE or BENCHMARKS[name].source in BUILT_IN
    assert (ROOT / f"tests/evaluation/sets/test_{name}.py").is_file()
