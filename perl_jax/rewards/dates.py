"""Reads dates and times of day: ``July 4, 2019``, ``2019-07-04``, ``3 pm``, ``half past three``."""

import re

from perl_jax.rewards.number_words import read_whole

_HALF = r"(?P<half>[ap])\s?\.?\s?m\.?"
_TIME = re.compile(
    rf"(?P<hour>[0-9]{{1,2}}):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?:\s*{_HALF})?",
    re.IGNORECASE,
)
_HOUR = re.compile(rf"(?P<hour>[0-9]{{1,2}})\s*{_HALF}", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{1,4}\s*/\s*[0-9]{1,2}\s*/\s*[0-9]{1,4}")
_YEAR_FIRST = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})")
_NAMES = "january february march april may june july august september october november december"
_MONTHS = {
    name[:length]: month
    for month, name in enumerate(_NAMES.split(), 1)
    for length in {3, len(name)} | ({4} if name == "september" else set())
}
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[0-9]{4})"
_NAMED_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_MONTH}\s+(?:the\s+)?{_DAY}(?:,?\s+{_YEAR})?",
        rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+{_YEAR})?",
        rf"{_MONTH},?\s+(?:of\s+)?{_YEAR}",
    )
)
_WORD = r"(?:[0-9]{1,2}|[a-z]+(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?)"
_SPOKEN = re.compile(
    rf"(?:(?P<minutes>half|(?:a\s+)?quarter|{_WORD})(?:\s+minutes?)?\s+(?P<side>past|after|to|before)\s+)?"
    rf"(?P<hour>{_WORD})(?P<clock>\s+o'clock)?(?:\s*{_HALF})?",
    re.IGNORECASE,
)
_NOON = {"noon": "12", "midnight": "0", "midday": "12"}
_PLAIN_RANGE = re.compile(r"[0-9]+ to [0-9]+")  # in words it is a time
_LONGEST = 60


def read_date(text: str) -> tuple[str, ...] | None:
    """Returns year, month and day, as far as they are said, or the parts around slashes."""
    text = text.strip()
    if found := _YEAR_FIRST.fullmatch(text):
        return tuple(str(int(group)) for group in found.groups())
    if _DATE.fullmatch(text):
        return "/", *(str(int(number)) for number in text.split("/"))
    if len(text) > _LONGEST:
        return None
    for pattern in _NAMED_DATES:
        if found := pattern.fullmatch(text):
            part = found.groupdict()
            day = str(int(part.get("day") or 0))
            return part["year"] or "", str(_MONTHS[part["month"].casefold()]), day
    return None


def read_time(text: str) -> tuple[str, ...] | None:
    """Returns hour, minute, second, and ``day`` if the hour is that of a day of 24."""
    text = text.strip()
    if found := _TIME.fullmatch(text) or _HOUR.fullmatch(text):
        part = found.groupdict()
        minute, second = part.get("minute") or "00", part.get("second") or ""
        return _time(int(part["hour"]), minute, second, part["half"] or "")
    return _read_spoken(text)


def _time(hour: int, minute: str, second: str, half: str) -> tuple[str, ...]:
    """A time of day; ``half`` is ``a``, ``p`` or, where the hour may be of either, empty."""
    half = half.casefold()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    known = "day" if half or not 1 <= hour <= 12 else ""
    return str(hour), minute, second, known


def _read_spoken(text: str) -> tuple[str, ...] | None:
    """Reads ``half past three``, ``ten to four``, ``3 o'clock`` and ``noon``."""
    if len(text) > _LONGEST:
        return None
    if text.casefold() in _NOON:
        return _NOON[text.casefold()], "00", "", "day"
    found = _SPOKEN.fullmatch(text)
    if found is None or not (found["clock"] or found["side"]):
        return None
    if _PLAIN_RANGE.fullmatch(text):
        return None
    hour, minutes = _small_number(found["hour"]), 0
    if found["side"]:
        word = found["minutes"].casefold()
        named = 30 if word == "half" else 15 if word.endswith("quarter") else _small_number(word)
        if named is None or not 0 < named < 60:
            return None
        minutes = named
    if hour is None or not 1 <= hour <= 12:
        return None
    if found["side"] and found["side"].casefold() in ("to", "before"):
        if found["half"]:
            return None
        hour, minutes = (hour - 2) % 12 + 1, 60 - minutes
    return _time(hour, f"{minutes:02d}", "", found["half"] or "")


def _small_number(word: str) -> int | None:
    if word.isdecimal():
        return int(word)
    whole = read_whole(word)
    return whole[0] if whole and whole[1] == len(word) else None
