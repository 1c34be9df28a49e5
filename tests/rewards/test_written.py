"""Dates, times of day and ranges, which are compared part by part."""

import pytest

from perl_jax.rewards.written import Written, compare_written, read_written


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("7:45", "time", ("7", "45", "", "")), ("07:45 P.M.", "time", ("19", "45", "", "day")),
        ("7 pm", "time", ("19", "00", "", "day")), ("7:45:09", "time", ("7", "45", "09", "")),
        ("2019-07-04", "date", ("2019", "7", "4")), ("2019/7/4", "date", ("2019", "7", "4")),
        ("4/7/2019", "date", ("/", "4", "7", "2019")), ("14 - 18", "range", ("", "14", "18")),
        ("14 to 18", "range", ("", "14", "18")), ("-3-5", "range", ("-", "3", "5")),
        ("14m-18m", "range", ("", "14m", "18m")),
    ],
)  # fmt: skip
def test_what_is_written_in_digits_has_a_kind_and_parts(text, kind, parts):
    assert read_written(text) == Written(kind, parts)


@pytest.mark.parametrize("text", ["5", "-5", "3/4", "1:3", "7:99", "3x-2", "x-2", "1,000", "to 5"])
def test_a_number_a_ratio_and_an_expression_are_not_written(text):
    assert read_written(text) is None


@pytest.mark.parametrize(
    ("given", "true", "alone", "same"),
    [
        ("7:45", "07:45", True, True), ("15:90", "7:45", True, False), ("9-2", "7", True, False),
        ("9-2", "7", False, None), ("2:10", "1:5", True, None), ("7", "7", True, None),
    ],
)  # fmt: skip
def test_only_what_leads_to_a_value_may_be_computed(given, true, alone, same):
    assert compare_written(given, true, alone=alone) is same
