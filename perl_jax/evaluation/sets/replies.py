"""What judges are asked, and how strictly their replies are read: as text, never as code."""

import re

_LONGEST = 200
_FRAME = re.compile(
    r"\s*(?:(?:extracted\s+answer|final\s+answer|answer|judge?ment|verdict|result)\s*:\s*)?(.*?)\s*",
    re.IGNORECASE | re.DOTALL,
)
NOTHING = "NONE"
"""What a judge replies where a response gives no answer."""


def plain_reply(reply: str) -> str | None:
    """The one line that a reply consists of, without "Answer:" before it; None if it is longer."""
    found = _FRAME.fullmatch(reply)
    text = found[1].strip("*_`'\"") if found else ""
    return None if not text or "\n" in text or len(text) > _LONGEST else text


def verdict_of(reply: str, right: str, wrong: str) -> float | None:
    """1.0 or 0.0 where a reply is one of two words, in any letter case; None for all else."""
    word = (plain_reply(reply) or "").removesuffix(".").casefold()
    return {right.casefold(): 1.0, wrong.casefold(): 0.0}.get(word)
