"""The soak itself, of an hour: SOAK_MINUTES=120 makes it longer, SOAK_SEED=1 another one."""

import os

import pytest

from tests.soak import battery

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
# What one free core does of both runs together, with all their starts.
STEPS_PER_MINUTE = 2000 / 60


@pytest.mark.soak
def test_runs_that_are_battered_for_long_end_as_those_that_were_not(tmp_path):
    steps = round(MINUTES * STEPS_PER_MINUTE)
    seed = os.environ.get("SOAK_SEED", "0")
    with pytest.raises(SystemExit) as ended:
        battery.main([f"--place={tmp_path}", f"--steps={steps}", f"--seed={seed}", "--clear"])
    assert ended.value.code == 0, "\n".join(
        (tmp_path / "results.jsonl").read_text().splitlines()[-3:]
    )
