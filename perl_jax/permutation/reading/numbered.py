"""Reads numbers and letters that name images: "image 2", "images 1 and 3", "image A"."""

import re

from perl_jax.permutation.reading.scan import (
    COMMA,
    GOES_ON,
    LISTED,
    Account,
    Mention,
    Run,
    Scan,
    read_list,
)
from perl_jax.permutation.reading.words import NUMBER, compiled, read_number

_RANGE = re.compile(r"\s*[-\u2013~]\s*|\s+(?:to|through|thru)\s+", re.IGNORECASE)
_NUMBER = re.compile(rf"{NUMBER}\b", re.IGNORECASE)
# After these an image has no number: in "each image 2 dogs" the dogs are counted.
_NO_NUMBER = re.compile(r"(?i)\b(?:an?|another|every|each|one|no|per|single|same)\s+$")
_MEASURE = re.compile(r"\s*[%°\xd7]|\s*x\s*\d|[.,]\w|[a-z]", re.IGNORECASE)
_DEFINITE = re.compile(r"\b(?:the|this|that|these|both)\s+$", re.IGNORECASE)
# Before a singular, these make the next number a part of its list, whatever follows.
_PAIRING = re.compile(r"(?i)\b(?:between|both|either|neither|comparing|compare)\s+$")
_OPENING = re.compile(
    r"(?i)(?:^|[.?!;:\n\0])\s*(?:(?:are|is|do|does|did|were|was|can|if)\s+)?(?P<of>(?:in|on|from|for|of)\s+)?$"
)
_OF_A_SUBJECT = re.compile(
    r"(?i)(?:^|[.?!;:\n\0])\s*(?:(?:are|is|do|does|did|were|was|can|if)\s+)?the\s+"
    r"(?:[^\W\d_]+\s+){1,2}(?P<of>(?:in|on|from|of)\s+)$"
)
_ENDING = re.compile(r"\s*(?:$|[.?!;:\n)\]])")
# After a number these show that it may count things: "and 1 in image 2", "and 2 are on the table".
_COUNTED = re.compile(
    r"(?i)\s+(?:(?:is|are|was|were|more)\s+)?(?:in|on|at|with|from|of|for|to|without|that|which|who)\b"
)
_COUNT_BEFORE = re.compile(rf"(?i)\b{NUMBER}\s+(?:[^\W\d_]+\s+){{1,3}}(?:in|on)\s+$")
_IN_ANOTHER = rf"\s+(?:in|on)\s+(?:NOUN\s*#?{NUMBER}\b|the\s+\a)"
_PLURAL = re.compile(r"(?i)\s+(?:[^\W\d_]+\s+)?(?:[^\W\d_]+s|people|men|women|children)\b")
# A number without its noun, after a numbered reference: "than in 2", "and #2", "but 3 differs".
_ELLIPTICAL = re.compile(
    r"(?i)(?:\b(?:in|of|on|from|to|with|against|than|and|or|vs\.?|versus|for)\s+(?P<a>\d{1,3})\b"
    r"|\b(?:but|while|whereas)\s+(?P<b>\d{1,3})\b"
    r"|\b(?:and|or|vs\.?|versus|than|with|to|,)\s+(?:number\s+|no\.\s*|#\s*)(?P<c>\d{1,3})\b)"
)
_NUMBERED = (
    r"\bNOUN(?P<plural>s?)(?:[ \t]*[-_#]?[ \t]*(?P<bracket>\()?"
    r"|\s+(?:no\.?|number|num\.?|of\s+lucky\s+number)\s*#?\s*)"
    rf"(?P<number>{NUMBER})(?:[a-z]|[.-]\d)?\b"
)
_LETTERED = r"\bNOUNs?\s+\(?(?P<letter>(?-i:[A-Z]|I{2,3}|IV|VI{0,3}))\b"


def read_numbers(scan: Scan) -> None:
    """Reads the numbered and lettered references of a text."""
    scan.begin_pass()
    pattern, start = compiled(_NUMBERED, scan.reader.nouns), 0
    while match := pattern.search(scan.text, start):
        first = _NUMBER.match(scan.text, match.start("number"))
        if first is None:  # "image 1a", "image 1.5": a panel, or a measure
            scan.doubt("ambiguous_reference", match[0], match["number"])
            start = match.end()
        else:
            start = _read_numbered(scan, match, first)
    _read_letters(scan)
    if any(mention.style == "digits" for mention in scan.mentions) or scan.runs:
        _find_elliptical(scan)


def _read_numbered(scan: Scan, match: re.Match[str], first: re.Match[str]) -> int:
    """Reads "image two", "image 1 and 2", "images 1-3"; returns where to read on."""
    text, before = scan.text, scan.before(match.start())
    follows = GOES_ON.match(text, first.end())
    word = not first[0].isdigit()
    if _NO_NUMBER.search(before) or (word and re.match(r"\s+(?:by|of)\b", scan.after(first.end()))):
        return first.end()  # "in each image 2 dogs ...", "the image one by one"
    if re.search(r"(?i)\bany\s+$", before):
        scan.doubt("ambiguous_reference", match[0], first[0])
        return first.end()
    listed, gaps = _of_one_list(*read_list(text, first, _NUMBER)[:2])
    end = listed[-1].end()
    if match["plural"]:
        return _read_plural(scan, listed, gaps)
    if re.match(r"[-\u2013~]\w", scan.after(first.end())):
        scan.doubt("ambiguous_reference", match[0])  # "image 1-3": a range or a panel
        return end
    # "image (1)" may be a sub-question, "in the image 2 dogs ..." counts dogs.
    unclear = match["bracket"] or _MEASURE.match(text, first.end()) or (word and not follows)
    if unclear or (not follows and _DEFINITE.search(before)):
        scan.doubt("ambiguous_reference", match[0], first[0])
        return end
    joined, goes_on = any(not COMMA.fullmatch(gap) for gap in gaps), GOES_ON.match(text, end)
    if len(listed) > 1 and joined and goes_on:
        if _counts(scan, before, listed):
            scan.accounts.append(Account(*listed[1].span(), "a count of things"))
            _claim_numbers(scan, listed[:1], first.end())
            scan.claim(*listed[1].span())
            return end
        if _is_list(before, scan.after(end)):
            return _claim_numbers(scan, listed, end)
    # "In image 1, 2 dogs ..." counts dogs, whereas "image 1 and 2 dogs ..." may do either.
    if len(listed) > 1 and (joined or goes_on):
        others = [item[0] for item in listed[1:]]
        scan.doubt("ambiguous_reference", text[match.start() : end], *others)
    return _claim_numbers(scan, listed[:1], first.end())


def _of_one_list(
    listed: list[re.Match[str]], gaps: list[str]
) -> tuple[list[re.Match[str]], list[str]]:
    """The items up to one of something else: "the one", "one" after 1, "3" after "1 and 2,"."""
    joined = False
    for index, (gap, item) in enumerate(zip(gaps, listed[1:], strict=True)):
        comma = COMMA.fullmatch(gap) is not None
        other = item[0].isdigit() != listed[0][0].isdigit() or gap.lower().endswith("the ")
        if other or (joined and comma):
            return listed[: index + 1], gaps[:index]
        joined = joined or not comma
    return listed, gaps


def _counts(scan: Scan, before: str, listed: list[re.Match[str]]) -> bool:
    """Whether the second number counts, as in "2 dogs in image 1 and 1 in image 2"."""
    elsewhere = scan.match(_IN_ANOTHER, listed[-1].end())
    return len(listed) == 2 and elsewhere is not None and _COUNT_BEFORE.search(before) is not None


def _is_list(before: str, after: str) -> bool:
    """Whether "image 1 and 2" names two images, so that the second number counts nothing."""
    if _PAIRING.search(before) or _ENDING.match(after):
        return True
    opening = _OPENING.search(before) or _OF_A_SUBJECT.search(before)
    return opening is not None and not (opening["of"] and _COUNTED.match(after))


def _find_elliptical(scan: Scan) -> None:
    scan.begin_pass()
    for match in _ELLIPTICAL.finditer(scan.text):
        number = match["a"] or match["b"] or match["c"]
        alone = match["a"] is None or GOES_ON.match(scan.text, match.end())
        if alone and 0 <= int(number) - scan.reader.base < scan.reader.num_slots:
            scan.doubt("ambiguous_reference", match[0], number)


def _claim_numbers(scan: Scan, numbers: list[re.Match[str]], end: int) -> int:
    for number in numbers:
        scan.mention(number.span(), read_number(number[0], scan.reader.base))
    scan.claim(numbers[0].start(), end)
    return end


def _read_plural(scan: Scan, listed: list[re.Match[str]], gaps: list[str]) -> int:
    """Reads the numbers after a plural: a list, or a range."""
    text, first, end = scan.text, listed[0], listed[-1].end()
    through = _RANGE.match(text, end)
    last = through and _NUMBER.match(text, through.end())
    if last is None:
        if len(listed) == 1:  # "images 2" is no list: a count, or a slip
            scan.doubt("ambiguous_reference", text[max(0, first.start() - 8) : end])
            return end
        joins = sum(not COMMA.fullmatch(gap) for gap in gaps)
        counted = len(listed) - joins != 1 and _PLURAL.match(text, end)
        goes_on = GOES_ON.match(text, end)
        if (counted and not goes_on) or (joins > 1 and not _ENDING.match(text, end)):
            # "In images 1, 2 and 3 dogs ...", "in images 1 and 2 and 1 in image 3"
            scan.doubt("ambiguous_reference", text[first.start() : end], listed[-1][0])
        return _claim_numbers(scan, listed, end)
    ends = tuple(
        Mention(*token.span(), *read_number(token[0], scan.reader.base)) for token in (first, last)
    )
    low, high = (end.slot for end in ends)
    after = LISTED.match(text, last.end())
    more = after and _NUMBER.match(text, after.end())
    if len(listed) > 1 or more or not 0 <= low < high < scan.reader.num_slots:
        scan.doubt("ambiguous_reference", text[first.start() : last.end()])
    else:
        scan.runs.append(Run(range(low, high + 1), ends))
    scan.claim(first.start(), last.end())
    return last.end()


def _read_letters(scan: Scan) -> None:
    """Reads "image A" where captions give images letters."""
    for match in scan.find(_LETTERED):
        letter = match["letter"]
        if letter == "I" and re.match(r"\s+[a-z]", scan.after(match.end())):
            continue  # "in the image I see": a pronoun
        if letter in scan.reader.names:
            scan.mention(match.span("letter"), ("name", scan.reader.names.index(letter)))
        else:
            scan.doubt("named_image", match[0])
        scan.claim(*match.span())
