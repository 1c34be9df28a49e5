r"""Normalises answers: removes what only changes their looks."""
# ruff: noqa: RUF001 (the table of look-alikes holds them)

import re
import unicodedata

from perl_jax.rewards.extract import last_boxed

# Look-alikes that models do write. The fullwidth block is added below.
_CHARACTERS = {
    "−": "-", "–": "-", "，": ",", "、": ",", "。": ".", "×": r"\times ", "÷": "/", "·": r"\cdot ",
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "∪": r"\cup ",
    "±": r"\pm ", "°": r"^{\circ}",
    "≈": r"\approx ", "∅": r"\emptyset ", "⇒": "→", "➔": "→", "➡": "→", "⟶": "→",
    "’": "'", "‘": "'", "′": "'", "″": '"', "”": '"', "“": '"', "△": r"\triangle ",
    "∠": r"\angle ", "∼": r"\sim ", "∥": r"\parallel ", "⊥": r"\perp ", "∩": r"\cap ", "∈": r"\in ",
    "⋅": r"\cdot ", "⟨": "(", "⟩": ")", "⁄": "/", "¢": r"\text{ cents}",
    "‐": "-", "‑": "-", "…": "...",
}  # fmt: skip
_TRANSLATION = str.maketrans(
    _CHARACTERS | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
)
# μ and Ω stay, as they are units; letters within a word of Greek stay too.
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta",
    "λ": "lambda", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ω": "omega",
    "Δ": "Delta", "Θ": "Theta", "Φ": "Phi",
}  # fmt: skip
_GREEK_LETTER = re.compile(rf"(?<![α-ωΑ-Ω])[{''.join(_GREEK)}](?![α-ωΑ-Ω])")
_RAISED = re.compile("[⁺⁻⁰¹⁴-⁹²³]+")
_LOWERED = re.compile("[₀-₉]+")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_RELATIONS = {">=": r"\geq ", "<=": r"\leq ", "!=": r"\neq ", ":=": "=", "==": "="}
_RELATION = re.compile(r"(?<![<>=!:])(?:[<>!:]=|==)(?![=>])")
# U.S.A. and p.m. are USA and pm; A. alone is the letter of an option.
_ABBREVIATION = re.compile(r"(?<![A-Za-z.])(?:[A-Za-z]\.){2,}(?![A-Za-z])")
_SHAPE = re.compile(
    r"(?<![\\A-Za-z])(?:the\s+)?(triangle|angle)\s+(?=[A-Z]{1,3}(?![A-Za-z]))", re.IGNORECASE
)
_ANGLE = re.compile(r"\\angle\s*\{?\s*([A-Z]{3})(?![A-Za-z])\s*\}?")
_STATEMENT = re.compile(r"\\(?:parallel|perp|cong|sim)(?![a-z])")
_SEGMENT = re.compile(r"\\(?:overline|bar)\s*\{\s*([A-Z]{2})\s*\}")
_VECTOR = re.compile(
    r"^\s*<([^<>]*,[^<>]*)>\s*$|\\langle(?![A-Za-z])(.*?)\\rangle(?![A-Za-z])", re.DOTALL
)
_ARROW = re.compile(r"\\(?:long)?rightarrow(?![a-zA-Z])|\\to(?![a-zA-Z])|\\Rightarrow|-+>|=+>")
_LOOKS = re.compile(
    r"\\(?:left|right|displaystyle|limits|therefore)(?![a-zA-Z])|(?<=[0-9])\\!(?=[0-9])|\\q?quad(?![a-zA-Z])"
)
# Two backslashes end a row of a matrix: the space after them is not theirs.
_THIN_SPACE = re.compile(r"(\\\\)|\\[,;:! ]|~|\s+")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|bf|rm|underline|boldsymbol|bm|emph)"
    r"\s*\{([^{}]*)\}"
)
_WHOLE_MATH = re.compile(r"\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(begin|end)\{[a-zA-Z]*\}")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
FUNCTIONS = r"(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|log|ln|exp|max|min|lim|gcd|lcm|mod|det"
"""A pattern for the names of functions."""
_FUNCTION = re.compile(rf"\b(?:{FUNCTIONS})\b")
_PREAMBLE = re.compile(
    r"\s*(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct|right|best)\s+){0,2}"
    r"(?:answer|ans|result|solution|(?<=correct )(?:option|choice))(?:\s+is\s*:?|\s*[:=])\s*(?=\S)",
    re.IGNORECASE,
)
_INFINITY = re.compile(r"^([+-]?\s*)infinity$", re.IGNORECASE)
_EMPTY_SET = re.compile(
    r"^(?:(?:the\s+)?empty set|(?:there (?:is|are)\s+)?no solutions?|\\\{\s*\\\})$", re.IGNORECASE
)
_REALS = re.compile(
    r"^(?:[a-z]\s*\\in\s*)?(?:\\mathbb\s*(?:\{\s*R\s*\}|R)|ℝ)$"
    r"|^(?i:(?:the\s+)?(?:set of\s+)?all (?:real numbers|reals))$"
)
_SLANTED = re.compile(r"(?<=\\[lg]eq)slant(?![a-z])")
# 10^23 and 10^-3 as plain text has them; TeX would raise the first sign only.
_LONG_SCRIPT = re.compile(r"\^\s*(-[0-9]+|[0-9]{2,})(?![0-9.{])")
_TIMES = re.compile(r"(?<=[0-9])\s*x\s*(?=10\s*\^)")
_HAT = re.compile(r"\\hat\s*\{?\s*\\?([ijk])(?:math)?(?![A-Za-z])\s*\}?")
_INITIALS = re.compile(r"(?<![\w.])((?:[A-Z]\.\s)+[A-Z]\.)(?=\s[A-Z][a-z])")
_QUOTED = re.compile(r"^([\"'])([^\"']+)\1$|^“([^“”]+)”$")
# Accents of Latin letters, which keyboards lack.
_MARKS = re.compile("([a-z])[\u0300-\u036f]+")
_SPELLINGS = {"grey": "gray", "colour": "color", "colours": "colors", "coloured": "colored"}
_SPELLING = re.compile(rf"\b(?:{'|'.join(_SPELLINGS)})\b")
_IT_IS = re.compile(r"^(?:it is|it's|this is|they are|there is|there are)\s+(?=\S)")
_PUNCTUATION = re.compile(r"\s*([,;()])\s*")
_COMPASS = re.compile(r"\b(north|south) (east|west)")
_CIRCLE = re.compile(r"\s*\^\s*\{?\s*\\circ(?![a-z])\s*\}?(?=\s*[a-z]{2})")
_ALL_OF = re.compile(
    r"^(both|neither|none|all)"
    r"(?: of (?:them|the (?:two |three |four )?(?:images|pictures|photos)))?"
    r"(?: (?:the )?(?:image|picture|photo)s?)?$"
)
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_STOP = re.compile(r"(?<=[^\W\d_]{2})\.(?=\s)")
_EMPHASIS = re.compile(r"^(\*{1,3}|`{1,3})\s*([^*`].*?)\s*\1$", re.DOTALL)
_PI = re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])")


def clean(text: str) -> str:
    r"""Returns ``text`` with ASCII digits and signs, plain spaces and no dressing around it.

    Digits of every script (``５``, ``٥``) become ASCII digits. Arrows become ``→``, and ``\dfrac``
    becomes ``\frac``. Math delimiters, bold marks and a full stop around the answer are removed.
    """
    if not text.isascii():
        text = _in_latex(text)
    if text.lstrip().startswith("~"):
        text = text.replace("~", r"\sim ", 1)  # elsewhere it is a space
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(character, character)) for character in text)
    text = _RELATION.sub(lambda found: _RELATIONS[found.group()], text)
    text = _ARROW.sub("→", text)
    text = _VECTOR.sub(lambda found: f"({found[1] or found[2]})", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s+([0-9])\s*([0-9])(?![0-9])", r"\\frac\1\2", text)
    text = re.sub(r"(?<=[0-9])\\,(?=[0-9])", "", text)
    text = text.replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = text.replace("{,}", ",").replace("\\$", "$").replace("\\%", "%")
    text = text.replace("\\varnothing", "\\emptyset")
    text = _TIMES.sub(r"\\times ", _HAT.sub(r"\1", text))
    text = _SLANTED.sub("", _LONG_SCRIPT.sub(r"^{\1}", text))
    text = _INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[1]), text)
    text = _THIN_SPACE.sub(lambda found: found[1] or " ", _LOOKS.sub("", text))
    text = _ABBREVIATION.sub(lambda found: found.group().replace(".", ""), text)
    text = _INFINITY.sub(r"\1\\infty", _undressed(text))
    if _STATEMENT.search(text):
        text = _SEGMENT.sub(r"\1", text)
    text = _ANGLE.sub(lambda found: f"\\angle {min(found[1], found[1][::-1])}", text)
    text = _SHAPE.sub(lambda found: f"\\{found[1].lower()} ", text)
    return _REALS.sub(r"(-\\infty, \\infty)", _EMPTY_SET.sub(r"\\emptyset", text))


def _in_latex(text: str) -> str:
    """Returns a text with signs, raised and lowered digits and fractions of Unicode in LaTeX."""
    text = _VULGAR.sub(_fraction, _GREEK_LETTER.sub(lambda one: rf"\{_GREEK[one.group()]} ", text))
    text = _RAISED.sub(lambda found: f"^{{{_plain(found.group())}}}", text)
    text = _LOWERED.sub(lambda found: f"_{{{_plain(found.group())}}}", text)
    return text.translate(_TRANSLATION)


def _fraction(sign: re.Match[str]) -> str:
    top, _, bottom = _plain(sign.group()).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("−", "-")


def prose(text: str) -> str:
    r"""Returns a cleaned text as words: no ``\text{}``, capitals, outer punctuation or article."""
    # A mark before a word may deny it: "!cat".
    words = " ".join(_TEXT.sub(r"\1", text).split()).lstrip(" .,;:\"'`*").rstrip(" .,;:!\"'`*")
    if not words.isascii():
        words = _MARKS.sub(r"\1", unicodedata.normalize("NFD", words))
    words = _SPELLING.sub(lambda found: _SPELLINGS[found.group()], words)
    words = _HYPHEN.sub(" ", _STOP.sub("", words.casefold()))
    words = _COMPASS.sub(r"\1\2", _ALL_OF.sub(r"\1", _CIRCLE.sub(" degrees", words)))
    words = _PUNCTUATION.sub(r"\1", _IT_IS.sub("", words))
    return re.sub(r"^(?:the|an|a)\s+(?=\S)", "", words)


def without_preamble(text: str) -> str:
    """Returns a cleaned text without "The answer is" or "Answer:" before it."""
    found = _PREAMBLE.match(text)
    return clean(text[found.end() :]) if found else text


def is_prose(text: str) -> bool:
    r"""Whether a cleaned text consists of words rather than of mathematics.

    Words are compared as text: as products of letters, "listen" would equal "silent".
    """
    text = _ENVIRONMENT.sub(r"\\\1 ", text)
    bare = _FUNCTION.sub(" ", _COMMAND.sub(" ", _PI.sub(" ", _TEXT.sub(r"\1", text))))
    if re.search(r"(?<![a-zA-Z])sqrt", bare):
        bare = bare.replace("sqrt", " ")
    if re.search(r"[a-zA-Z]{4}", bare):
        return True
    has_mathematics = bare != _TEXT.sub(r"\1", text) or re.search(r"[0-9+*/^_=<>|{}-]", bare)
    return not has_mathematics and re.search(r"[a-zA-Z]{2}", bare) is not None


def unwrapped_text(text: str) -> str:
    r"""Returns ``text`` without a ``\text{}`` (or similar) around all of it."""
    match = _TEXT.fullmatch(text)
    return match[1].strip() if match else text


def _undressed(text: str) -> str:
    """Removes layers around a whole answer, one in each round."""
    for _ in range(8):
        before = text
        text = _QUOTED.sub(lambda found: found[2] or found[3], _EMPHASIS.sub(r"\2", text.strip()))
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].strip()
        match = _WHOLE_MATH.fullmatch(text)
        if match:
            text = next(group for group in match.groups() if group is not None)
        if text.startswith("{") and last_boxed("\\boxed" + text).text == text[1:-1].strip():
            text = text[1:-1]
        text = unwrapped_text(text)
        if text == before:
            break
    return text
