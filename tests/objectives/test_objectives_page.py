"""The tables of docs/objectives.md are those of the code."""

import re
from typing import get_args

from perl_jax.objectives import PRESETS
from perl_jax.objectives.presets import KLPlace
from perl_jax.update.losses import Importance
from tests.pages import ROOT

PAGE = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines()
        if line.startswith("|")]  # fmt: skip


def test_the_table_has_every_value_of_every_preset():
    names, *rows = [row for row in ROWS if len(row) == 9 and "---" not in row]
    assert names[1:] == list(PRESETS)
    told = {row[0].strip("`"): row[1:] for row in rows}
    for name, column in zip(names[1:], zip(*told.values(), strict=True), strict=True):
        preset = PRESETS[name]
        for field, cell in zip(told, column, strict=True):
            value = getattr(preset, field)
            absent = preset.kl_coefficient == 0 and field in ("kl", "kl_in")
            off = absent or (field != "ddof" and value in (None, 0, "none"))
            assert cell == ("-" if off else str(value)), (name, field)
    # What is left out of the table is the same in all.
    others = set(vars(PRESETS["grpo"])) - told.keys() - {"level"}
    assert all(getattr(one, f) == getattr(PRESETS["grpo"], f) for one in PRESETS.values()
               for f in others)  # fmt: skip
    assert [name for name, one in PRESETS.items() if one.level != "token"] == ["gspo"]


def test_every_choice_has_its_row():
    first = {cell for row in ROWS for cell in re.findall(r"^`(\w+)`$", row[0])}
    assert {*PRESETS, *get_args(KLPlace), *get_args(Importance)} <= first
