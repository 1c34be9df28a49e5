"""Reads the answers to yes-or-no questions that go on: ``Yes, they match``."""

import re

# A sentence follows: "no, a bicycle" would name something else.
_SUBJECT = (
    r"(?:(?:they|it|he|she|there|both|all|this|that|these|those|(?:only )?one)(?:\s+[a-z]+){0,2}"
    r"|(?:only\s+)?the(?:\s+[a-z]+){1,4})"
)
_VERB = (
    r"(?:is|are|was|were|do|does|did|has|have|can|could|will|would)(?:n't)?"
    r"|can't|cannot|won't|show|shows|match|matches|appears?|features?|depicts?|includes?|exists?|differ|differs|look|looks|share|contain|contains"
)
_VERDICT = re.compile(
    r"(?P<word>yes|no|true|false)(?:\s*[,.;:]?\s+(?:[-—]+\s+)?|\s*(?P<bracket>\())(?P<rest>(?:(?:because|since|as)\s+)?(?:"
    rf"{_SUBJECT}\s+(?:{_VERB})(?!\w).*"
    r"|(?:they're|it's|there's|he's|she's)\s.*|(?:the\s+)?(?:same|identical|different|similar)\b.*"
    r"|not\s+(?:the\s+same|alike|really|visible|present|identical|equal|similar|there)\b.*"
    r"|(?:they|it|both|all)\s+(?:match|show|differ|agree|look|share|belong|contain)\b.*))",
    re.IGNORECASE | re.DOTALL,
)
# What takes the first word back, or says something beside it.
_OTHER = (
    r"yes|but|or|however|although|though|unless|except|maybe|perhaps|possibly|probably|if"
    r"|sometimes|partly|partially|wait|actually|instead|rather|wrong|incorrect|false|opposite|answer"
)
_AGAINST = {
    "yes": re.compile(
        rf"\b(?:{_OTHER}|no|not|nor|neither|never|none|cannot)\b|n't\b", re.IGNORECASE
    ),
    # "There is no dog" agrees.
    "no": re.compile(
        rf"\b(?:{_OTHER}|indeed|certainly|correct|right|true)\b|\bno\W+(?:no|way)\b", re.IGNORECASE
    ),
}
_LONGEST = 120


def verdict(text: str) -> str | None:
    """The verdict, such as ``yes``, that a longer answer begins with and nowhere takes back."""
    found = _VERDICT.fullmatch(text.strip())
    if found is None or len(found["rest"]) > _LONGEST:
        return None
    if found["bracket"] and not found["rest"].endswith(")"):
        return None
    word = found["word"].casefold()
    agrees = {"true": "yes", "false": "no"}.get(word, word)
    return None if _AGAINST[agrees].search(found["rest"]) else word
