import pytest

from perl_jax.rewards.dates import read_date, read_time


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("July 4, 2019", ("2019", "7", "4")), ("4th of July 2019", ("2019", "7", "4")),
        ("2019-07-04", ("2019", "7", "4")), ("Sept. 9", ("", "9", "9")),
        ("Mar 2020", ("2020", "3", "0")), ("07/04/2019", ("/", "7", "4", "2019")),
    ],
)  # fmt: skip
def test_a_date_is_its_year_month_and_day(text, date):
    assert read_date(text) == date


@pytest.mark.parametrize(
    "text", ["May", "2019", "July 4-5", "July 4 or 5", "Juli 4", "4", "may 100"]
)
def test_what_is_no_single_date_is_none(text):
    assert read_date(text) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("3 pm", ("15", "00", "", "day")), ("15:00", ("15", "00", "", "day")),
        ("3:00", ("3", "00", "", "")), ("12 AM", ("0", "00", "", "day")),
        ("noon", ("12", "00", "", "day")), ("half past three", ("3", "30", "", "")),
        ("quarter to one", ("12", "45", "", "")), ("ten past 2", ("2", "10", "", "")),
        ("twenty-five to six", ("5", "35", "", "")), ("3 o'clock", ("3", "00", "", "")),
        ("9:05:07 pm", ("21", "05", "07", "day")),
    ],
)  # fmt: skip
def test_a_time_is_its_hour_minute_and_second(text, time):
    assert read_time(text) == time


@pytest.mark.parametrize(
    "text", ["5 to 10", "3", "three", "half past", "25 past 13", "noon or 1 pm"]
)
def test_what_is_no_time_is_none(text):
    assert read_time(text) is None
