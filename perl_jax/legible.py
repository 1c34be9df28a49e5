"""Text that people read: of the data, safe to show; values and names as messages have them."""

import difflib
import re
from collections.abc import Collection, Iterable

# Characters of a value that a message shows.
_LONGEST = 300
# Controls (a terminal obeys them), marks that turn the direction of the text around them or end its
# line, spaces of no width, and lone surrogates (no file can hold them). What joins letters and
# emoji stays.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069"
    r"\ud800-\udfff\ufeff]"
)


def legible(text: str, limit: int | None = None) -> str:
    r"""The text with unseen characters escaped, as ``\u202e``; line ends and tabs stay.

    A text longer than ``limit`` characters is cut, and the number of the others is added.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}... ({len(text) - limit} more characters)"
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\r\n", "\n"))


def brief(value: object) -> str:
    """A value in a message: its ``repr``, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def field_name(name: object, limit: int = _LONGEST) -> str:
    """A name in a message, on one line: what is unseen is escaped, and what is long is cut."""
    return legible(str(name), limit).replace("\n", "\\n").replace("\t", "\\t")


def name_list(names: Iterable[object], most: int = 20) -> str:
    """Names in a message: each as `field_name` has it, and how many more there are."""
    every = list(names)
    listed = ", ".join(field_name(name, 100) for name in every[:most])
    return listed if len(every) <= most else f"{listed} and {len(every) - most} more"


def suggestion(value: object, choices: Collection[str]) -> str:
    """`` (did you mean 'x'?)`` if one of the choices is close to the value, else ``""``."""
    named = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), named, 1)
    return f" (did you mean {named[close[0]]!r}?)" if close else ""
