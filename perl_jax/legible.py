"""Makes text of the data safe to show: readers see every character that is there."""

import re

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
