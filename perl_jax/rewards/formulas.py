r"""Reads chemical formulas: ``H2O``, ``H_2O``, ``\text{H}_2\text{O}`` and ``\ce{H2O}`` are one."""

import re

from perl_jax.rewards.words import words

_ELEMENTS = words("""
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am
""")
_WRAPPED = re.compile(r"\\(?:text|mathrm|ce|rm)\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_BRACED = re.compile(r"([_^])\s*\{\s*([0-9]*[+-]?)\s*\}")
_ATOM = r"(?:[A-Z][a-z]?_?[0-9]*)"
_FORMULA = re.compile(rf"[0-9]*(?:{_ATOM}|\({_ATOM}+\)_?[0-9]*)+(?:\^?[0-9]*[+-])?", re.DOTALL)
_INDEX_OR_CHARGE = re.compile(r"[A-Za-z)]_?[0-9]|[+-]$")
_SYMBOL = re.compile("[A-Z][a-z]?")
_PLUS = re.compile(r"\s+\+\s+")
_LONGEST = 60


def read_formula(text: str) -> str | None:
    """Returns a cleaned text as a formula with its marks for indices and charges; else None."""
    if len(text) > _LONGEST:
        return None
    text = _BRACED.sub(r"\1\2", _WRAPPED.sub(r"\1", text).replace(" ", ""))
    # 20 N is a force.
    if not _FORMULA.fullmatch(text) or not _INDEX_OR_CHARGE.search(text):
        return None
    return text if all(symbol in _ELEMENTS for symbol in _SYMBOL.findall(text)) else None


def read_reaction(text: str) -> str | None:
    """Returns a formula, or several with plus signs between them; None if it is neither."""
    formulas = [read_formula(part) for part in _PLUS.split(text)]
    return " + ".join(one for one in formulas if one) if all(formulas) else None


def same_formula(given: str, true: str) -> bool:
    """Whether two formulas agree; the marks count only where both have them."""
    if " + " in given:
        given, true = (" + ".join(sorted(text.split(" + "))) for text in (given, true))
    given, true = given.replace("_", ""), true.replace("_", "")
    if "^" in given and "^" in true:
        return given == true
    return given.replace("^", "") == true.replace("^", "")
