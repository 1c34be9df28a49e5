"""Reads the answers to yes-or-no questions that go on: ``Yes, they match``."""

import re

# A sentence follows: "no, a bicycle" would name something else.
_VERDICT = re.compile(
    r"(?P<word>yes|no)\s*[,.;:]?\s+(?P<rest>"
    r"(?:(?:they|it|he|she|there|both|all|this|that|these|those)(?:\s+[a-z]+){0,2}|the(?:\s+[a-z]+){1,4})"
    r"\s+(?:is|are|was|were|do|does|did|has|have|can|could|will|show|shows|match|matches)\b.*"
    r"|(?:they|it|both|all)\s+(?:match|show|differ|agree|look|share|belong|contain)\b.*)",
    re.IGNORECASE | re.DOTALL,
)
# What takes the first word back, or says something beside it.
_OTHER = (
    r"yes|no|but|or|however|although|though|unless|except|maybe|perhaps|possibly|probably|if"
    r"|sometimes|partly|partially|wait|actually|instead|rather|wrong|incorrect|false|opposite|answer"
)
_AGAINST = {
    "yes": re.compile(
        rf"\b(?:{_OTHER}|not|nor|neither|never|none|cannot)\b|n['\u2019]t\b", re.IGNORECASE
    ),
    "no": re.compile(rf"\b(?:{_OTHER}|indeed|certainly|correct|right|true)\b", re.IGNORECASE),
}
_LONGEST = 120


def verdict(text: str) -> str | None:
    """The ``yes`` or ``no`` that a longer answer begins with and nowhere takes back; else None."""
    found = _VERDICT.fullmatch(text.strip())
    if found is None or len(found["rest"]) > _LONGEST:
        return None
    word = found["word"].casefold()
    return None if _AGAINST[word].search(found["rest"]) else word
