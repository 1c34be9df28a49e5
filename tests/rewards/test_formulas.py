import pytest

from perl_jax.rewards.formulas import read_formula, read_reaction, same_formula


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("H2O", "H_2O"), ("H_{2}O", r"\text{H}_2\text{O}"), (r"\ce{CO2}", "CO2"),
        ("Na+", "Na^+"), ("SO4^{2-}", "SO_4^{2-}"), ("Ca(OH)2", "Ca(OH)_2"),
    ],
)  # fmt: skip
def test_marks_and_wrappers_do_not_change_a_formula(one, other):
    assert same_formula(read_formula(one), read_formula(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("H2O", "HO2"), ("Fe^{2+}", "Fe^{3+}"), ("CO2", "CO3"), ("Fe_2^+", "Fe^{2+}")],
)
def test_other_formulas_differ(one, other):
    assert not same_formula(read_formula(one), read_formula(other))


@pytest.mark.parametrize("text", ["20 N", "CO", "x2", "Xx2", "N^2", "H2O or CO2", "2"])
def test_what_is_no_formula_is_none(text):
    assert read_formula(text) is None


def test_a_sum_of_formulas_is_a_side_of_a_reaction():
    assert read_reaction("2H2 + O2") == "2H2 + O2"
    assert read_reaction("2H2 + x") is None
    assert same_formula(read_reaction("C_1 + C_2"), read_reaction("C_2 + C_1"))
