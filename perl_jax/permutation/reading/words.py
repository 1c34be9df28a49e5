"""The words that name one of several images, read and spelled.

A *style* is one way to count: digits, ordinals, counting from the end, sides. Rewriting keeps the
style, and within a style every slot has at most one spelling: that is what lets the inverse order
restore a text exactly.
"""

import re
from functools import lru_cache

NOUNS = ("image", "picture", "photo", "photograph", "pic", "img")
# They may be another word for a shown image, or a thing inside one.
_OTHER_NOUNS = (
    "figure", "fig", "chart", "graph", "diagram", "frame", "panel", "screenshot", "map", "plot",
    "drawing", "painting", "sketch", "view", "shot", "slide", "page", "scan", "illustration",
    "clip", "scene", "video",
)  # fmt: skip
CARDINALS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)  # fmt: skip
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth",
    "eighteenth", "nineteenth", "twentieth",
)  # fmt: skip
LATIN = ("primary", "secondary", "tertiary", "quaternary")

# Read, but never written: their slot has a plainer word, so a moved one is refused.
_FIXED = {
    **dict.fromkeys(
        ("initial", "opening", "foremost", "lead", "leading", "premiere", "premier"), 0
    ),
    "forth": 3,
    **dict.fromkeys(("end", "ending", "closing", "concluding"), -1),
    **dict.fromkeys(("penultimate", "next-to-last", "next to last", "second last"), -2),
    "antepenultimate": -3,
}

_counted = "|".join(ORDINALS[1:])
POSITION = (
    rf"(?:(?:{_counted})-(?:to|from)-last|(?:{_counted}) (?:to|from) last|next[- ]to[- ]last"
    rf"|second last|{'|'.join(ORDINALS)}|\d{{1,3}}(?:st|nd|rd|th)|last|final"
    rf"|{'|'.join(LATIN)}|{'|'.join(_FIXED)})"
)
SIDE = r"(?:(?:left|right)(?:[- ]?most|[- ]?hand)?|middle|center|centre|central)"
NUMBER = rf"(?:\d{{1,3}}|{'|'.join(CARDINALS)})"

Reading = tuple[str, int]  # style and slot


_MISSPELT = (*ORDINALS[:6], "left", "right", "middle", "last")
# English words that differ from one of these in one letter.
_ALIKE = """
light night bright fight tight might sight eight wright lift loft list lost past fast cast vast
mast east best lest least late lasts blast fifty sixty let lets lent deft lass lash riddle fiddle
seconds thirds firs fits firm fins forth birth
"""
_SPELT_RIGHT = frozenset((*_ALIKE.split(), *ORDINALS, *_MISSPELT))


@lru_cache(maxsize=4096)
def misspells_a_place(word: str) -> bool:
    """Whether a word is an ordinal or a side but for one letter, or two that are exchanged."""
    word = word.lower()
    return word not in _SPELT_RIGHT and any(_is_one_off(word, right) for right in _MISSPELT)


def _is_one_off(word: str, right: str) -> bool:
    if abs(len(word) - len(right)) > 1:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(word, right, strict=False)) if a != b),
        min(len(word), len(right)),
    )
    rest, wanted = word[start:], right[start:]
    changed = rest[1:] == wanted[1:] or rest[1:] == wanted or rest == wanted[1:]
    return changed or (rest[2:] == wanted[2:] and rest[1::-1] == wanted[:2])


@lru_cache(maxsize=1024)
def compiled(pattern: str, nouns: tuple[str, ...]) -> re.Pattern[str]:
    """Compiles a pattern, for any letter case, with its NOUN and OTHER filled in.

    NOUN is one of ``nouns``; OTHER is another word, such as "figure", that may mean an image.
    """
    others = "|".join(noun for noun in _OTHER_NOUNS if noun not in nouns)
    # The longest first, so that "photograph" is not "photo".
    own = "|".join(sorted(map(re.escape, nouns), key=len, reverse=True))
    pattern = pattern.replace("OTHER", f"(?:{others})").replace("NOUN", f"(?:{own})")
    return re.compile(pattern, re.IGNORECASE)


def read_number(token: str, base: int) -> Reading:
    """The style and slot of a digit string (counted from ``base``) or a cardinal word."""
    if token.isdigit():
        return "digits", int(token) - base
    return "cardinal", CARDINALS.index(token.lower())


def _read_position(token: str, num_slots: int) -> Reading:
    """The style and slot of a token that matches `POSITION`; the slot may lie outside."""
    word = token.lower()
    if word in ORDINALS:
        return "ordinal", ORDINALS.index(word)
    if word[0].isdigit():
        return "ordinal_digits", int(word[:-2]) - 1
    if word in ("last", "final"):
        return f"from_{word}", num_slots - 1
    if word in LATIN:
        return "latin", LATIN.index(word)
    if word in _FIXED:
        return "fixed", _FIXED[word] + (num_slots if _FIXED[word] < 0 else 0)
    back, link, _ = re.split(r"[- ]", word)
    style = {"to": "from_last", "from": "from_final"}[link] if "-" in word else "fixed"
    return style, (num_slots - 2 if back == "next" else num_slots - 1 - ORDINALS.index(back))


def _read_side(token: str, num_slots: int) -> Reading | None:
    """The style and slot of a token that matches `SIDE`, or None if it names no slot."""
    word = token.lower()
    if word.startswith(("left", "right")):
        if num_slots > 3 and not word.endswith("most"):
            return None
        style = "side" if word in ("left", "right") else "outer_side"
        return style, 0 if word.startswith("left") else num_slots - 1
    if num_slots != 3:
        return None
    return ("side" if word == "middle" else "fixed"), 1


def read_token(token: str, num_slots: int, base: int) -> Reading | None:
    """The style and slot of a number, position or side; None for a side that names no slot."""
    if token.isdigit() or token.lower() in CARDINALS:
        return read_number(token, base)
    if re.fullmatch(SIDE, token, re.IGNORECASE):
        return _read_side(token, num_slots)
    return _read_position(token, num_slots)


def spell(style: str, slot: int, num_slots: int, base: int, names: tuple[str, ...]) -> str | None:
    """The lower-case word of a style for a slot, or None if the style has none."""
    listed = {"cardinal": CARDINALS, "ordinal": ORDINALS, "latin": LATIN, "name": names}
    if words := listed.get(style):
        return words[slot] if slot < len(words) else None
    from_end = num_slots - 1 - slot
    match style:
        case "digits":
            return str(slot + base)
        case "ordinal_digits":
            number = slot + 1
            endings = {} if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}
            return f"{number}{endings.get(number % 10, 'th')}"
        case "from_last" | "from_final" if from_end == 0:
            return style.removeprefix("from_")
        case "from_last" | "from_final" if from_end < len(ORDINALS):
            return f"{ORDINALS[from_end]}-{'to' if style == 'from_last' else 'from'}-last"
        case "ends":
            return {0: "first", num_slots - 1: "last"}.get(slot)
        case "side" if num_slots <= 3:
            return {0: "left", num_slots - 1: "right"}.get(slot, "middle")
        case "outer_side":
            return {0: "left", num_slots - 1: "right"}.get(slot)
    return None


def like(original: str, word: str) -> str:
    """The word in the letter case, or with the leading zeros, of the original token."""
    if original.isdigit():
        return word.zfill(len(original)) if original.startswith("0") else word
    if original.isupper() and sum(map(str.isalpha, original)) > 1:
        return word.upper()
    if original[0].isupper():
        return word[0].upper() + word[1:]
    return word
