r"""Writes mathematics as LaTeX that the symbolic grader reads exactly, or says that it is none.

The LaTeX reader of math-verify is lenient: it drops words at the end, takes "5 6" for 5 + 6 and a
decimal for a rounded number. So it only sees texts in which every sign is accounted for here.
"""

# ruff: noqa: RUF001 (Greek letters are signs of mathematics)

import re

from perl_jax.rewards.extract import MAX_CHARACTERS
from perl_jax.rewards.normalise import FUNCTIONS
from perl_jax.rewards.numeric import read_number
from perl_jax.rewards.units import Unit, counted, read_unit
from perl_jax.rewards.words import is_counted_noun, words

_COMMANDS = words("""
    frac sqrt approx cdot times div pm mp pi infty emptyset circ alpha beta gamma delta epsilon
    varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi varphi chi
    psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega sin cos tan cot sec csc sinh
    cosh tanh arcsin arccos arctan log ln lg exp max min gcd lcm lim det mod bmod pmod sum prod
    int iint oint binom choose leq geq le ge lt gt neq ne in notin cup cap setminus subset
    subseteq to begin end overline bar hat vec mathbb mathbf mathcal lfloor rfloor lceil rceil
    lvert rvert vert langle rangle partial nabla prime Re Im arg tr angle triangle operatorname
    lbrace rbrace
""")
# Words of two or three letters that are neither products of variables nor functions.
_NO_PRODUCTS = words("""
    or and not no nor vs but is are if per pct inf yes than ft in cm mm km kg mg ml lb oz hr yd
    am pm est jan feb mar apr may jun jul aug sep oct nov dec mon tue wed thu fri sat sun
""")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([pbvBV]?matrix|cases|array)\}")
_TOKEN = re.compile(
    r"\\(?P<command>[A-Za-z]+)|\\(?P<sign>[{}|\\!%])|(?P<word>[A-Za-z]+)"
    r"|[0-9{}()\[\]+\-*/^_=<>|!,.;:&%\s]|(?P<greek>[α-ωΑ-Ω])"
)
# Two numbers side by side, which the reader of LaTeX adds; a percent sign before a number.
_DOUBLE = re.compile(
    r"[0-9]\s+[.0-9]|(?<![}\w^_\]])\{\s*[0-9.]+\s*\}|[0-9]\s*\{|\.[0-9]*\.|%\s*[0-9A-Za-z(\\]|[0-9)}]\s*_"
)
_GAP = re.compile(r"(\\[A-Za-z]+|[\^_])\s+(?=\{)")
_SHORT_SCRIPT = re.compile(r"([\^_])([0-9]+)\s*(?=\{)")
_SHORT_FRACTION = re.compile(r"\\frac\s*([0-9])\s*(?=\{)")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|rm)\s*\{\s*([A-Za-z])\s*\}")
_NAMED = re.compile(rf"(?<![\\a-zA-Z_])({FUNCTIONS})(?![a-zA-Z])")
_ROOT = re.compile(r"(?:\\|(?<![\\a-zA-Z]))sqrt\s*\(")
_BARE_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s*(?=\{)")
_ROOT_SIGN = re.compile(r"√\s*([0-9]+|[a-zA-Z])")
_CHOOSE = re.compile(
    r"\{\s*([^{}]*?)\s*\\choose\s*([^{}]*?)\s*\}|^\s*([^{}\\]*?)\s*\\choose\s*([^{}\\]*?)\s*$"
)
_PI = re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])")
_DECIMAL = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]*)")
_PRODUCT = re.compile(r"((?<![0-9_^])(?<![0-9][.])[0-9]+|\\pi|\))\s*(?=\()")
_IMAGINARY = re.compile(r"(?<=[0-9}])i(?![a-zA-Z])")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_DEGREES = re.compile(r"([0-9]+|\\frac\{[0-9]+\}\{[0-9]+\})\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)")
_RATIO = re.compile(r"[^:]*[0-9A-Za-z}]\s*:\s*[0-9A-Za-z\\][^:=]*")
# +-3 may be 3 and -3.
_BOTH_SIGNS = re.compile(r"\+\s*-|-\s*\+")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_REPEATING = re.compile(r"[0-9]*\.[0-9]*\\(?:overline|bar|dot)\s*(?:\{[0-9]+\}|[0-9])")
# Letters that name an angle are no product.
_ANGLE_NAME = re.compile(r"\\angle\s*\{?\s*[A-Z]{2}")
# x1 is a name too; the reader would multiply.
_NUMBERED = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+[0-9]")
_CHARGE = re.compile(r"\^\s*\{?\s*[0-9]*[+-]\s*\}?\s*$")
_LOGARITHM = re.compile(r"(\\log_)([0-9])(?=\s)")
_MEMBER = re.compile(r"\s*[A-Za-z]\s*\\in ")
_TEXT_UNIT = re.compile(r"\s*(\\(?:text|mathrm|mbox|textrm)\s*\{.*)$", re.DOTALL)
_WORD_UNIT = re.compile(r"(?<=[0-9})i])\s+([A-Za-z]{2,}[A-Za-z0-9/^{}. ]*)$")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm)\s*\{([^{}]*)\}")
_DEGREE_SIGNS = ("^{\\circ}", "^\\circ")
_MAX_DIGITS = 300


def as_latex(text: str) -> str:
    r"""Returns a cleaned mathematical text as LaTeX: roots, functions and π as commands."""
    text = text.replace("**", "^").replace("$", " ").strip()
    text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text.replace("√(", "sqrt("))
    text = _CHOOSE.sub(r"\\binom{\1\3}{\2\4}", text)
    text = _BARE_ROOT.sub(r"\\sqrt", _braced_roots(text))
    return _NAMED.sub(r"\\\1", _PI.sub(r"\\pi ", text))


def mathematics(text: str) -> str | None:
    r"""Returns a cleaned text as LaTeX for the symbolic grader; None if it is not all mathematics.

    Decimals become fractions, which are exact, and degrees in trigonometric functions radians.
    Words, ``\text{}``, unknown commands and two numbers side by side are no mathematics.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    text = _GAP.sub(r"\1", _UPRIGHT.sub(r" \1 ", as_latex(text)))
    text = _LOGARITHM.sub(r"\1{\2}", _REPEATING.sub(_repeating, text))
    text = _SHORT_FRACTION.sub(r"\\frac{\1}", _SHORT_SCRIPT.sub(r"\1{\2}", text))
    if any(one.search(text) for one in (_ANGLE_NAME, _NUMBERED, _CHARGE)):
        return None
    bare = _ENVIRONMENT.sub(" ", text)
    position = 0
    while position < len(bare):
        token = _TOKEN.match(bare, position)
        if token is None:
            return None
        command, word = token["command"], token["word"]
        if (command and command not in _COMMANDS) or (word and not _is_product(word)):
            return None
        position = token.end()
    if ":" in text and (not _RATIO.fullmatch(text) or _WORD.search(text)):
        return None
    if "\\in " in text and not _MEMBER.match(text):
        return None
    if (
        _BOTH_SIGNS.search(text)
        or _DOUBLE.search(text)
        or len(_equals(text)) > 1
        or text.count("\\approx") > 1
    ):
        return None
    return _exact(text)


def split_unit(text: str) -> tuple[str, Unit | None]:
    r"""Returns an expression without the unit after it, ``2\sqrt{3} \text{ cm}``, and the unit."""
    found = _TEXT_UNIT.search(text) or _WORD_UNIT.search(text)
    if found is None or not found.start():
        if text.endswith(_DEGREE_SIGNS) and not _TRIGONOMETRY.search(text):
            return text.rpartition("^")[0], read_unit("degree")
        return text, None
    noun = _TEXT.sub(r"\1", found[1]).strip()
    unit = read_unit(found[1]) or (counted(noun) if is_counted_noun(noun, one=False) else None)
    return (text[: found.start()].strip(), unit) if unit else (text, None)


def _is_product(word: str) -> bool:
    """Whether letters side by side are variables: ``xy``, ``ABC``, ``dx``."""
    return len(word) < 4 and word.casefold() not in _NO_PRODUCTS


def _equals(text: str) -> list[str]:
    return re.findall(r"(?<![<>!:])=", text)


def _exact(text: str) -> str:
    if _TRIGONOMETRY.search(text):
        text = _DEGREES.sub(r"{\\frac{\1\\pi }{180}}", _DECIMAL.sub(_fraction, text))
    text = _DECIMAL.sub(_fraction, text)
    text = re.sub(r"(?<!\\)%", r"\\%", text)
    return _IMAGINARY.sub(" i", _PRODUCT.sub(r"\1\\cdot ", text))


def _repeating(decimal: re.Match[str]) -> str:
    number = read_number(decimal.group())
    if number is None:
        return decimal.group()
    return rf"\frac{{{number.value.numerator}}}{{{number.value.denominator}}}"


def _fraction(decimal: re.Match[str]) -> str:
    whole, places = decimal.groups()
    if not whole and not places:
        return decimal.group()
    if not places.strip("0") or len(places) > _MAX_DIGITS:
        return whole or "0" if not places.strip("0") else decimal.group()
    return rf"\frac{{{int(whole + places)}}}{{{10 ** len(places)}}}"


def _braced_roots(text: str) -> str:
    r"""Returns the text with ``sqrt(...)`` as ``\sqrt{...}``, to its own closing bracket."""
    pieces, end = [], 0
    while found := _ROOT.search(text, end):
        depth, position = 1, found.end()
        while position < len(text) and depth:
            depth += {"(": 1, ")": -1}.get(text[position], 0)
            position += 1
        if depth:
            break
        # Roots within the root come in the next round.
        inner = text[found.end() : position - 1]
        pieces.append(text[end : found.start()] + rf"\sqrt{{{inner}}}")
        end = position
    text = "".join(pieces) + text[end:]
    return text
