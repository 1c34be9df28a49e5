r"""The value of a number written as text or LaTeX: ``5\sqrt{2}``, ``\frac{3\pi}{4}``, ``1,200 cm``.

Only numbers are read, nothing is evaluated as code, and no text makes reading slow.
"""

import math
import re
from collections.abc import Callable, Mapping

from perl_jax.rewards.expressions import as_latex
from perl_jax.rewards.normalise import clean
from perl_jax.rewards.numeric import read_number

_LONGEST = 200
_DEEPEST = 20
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)|\\(?P<command>[A-Za-z]+)|(?P<sign>[-+*/^(){}!\[\]]))"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)")
_CONSTANTS = {"pi": math.pi}
_FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "ln": math.log, "log": math.log10,
}  # fmt: skip
_CLOSING = {"{": "}", "(": ")", "[": "]"}


def value_of(text: str) -> float | None:
    """The value of a text that is a number, with or without a unit; None for all else.

    A percent sign, as a unit, says nothing about the value: 50% is 50.
    """
    text = clean(text)
    if len(text) > _LONGEST:
        return None
    try:
        if number := read_number(text):
            return float(number.value)
        value = _Reader(as_latex(_DEGREES.sub("", text))).read()
    except (ValueError, ArithmeticError):
        return None
    return value if math.isfinite(value) else None


class _Reader:
    """Reads one expression of numbers; raises ValueError for anything else."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position, text = 0, text.strip()
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None or token.lastgroup is None:
                raise ValueError(f"no number: {text[position:]}")
            self._tokens.append((token.lastgroup, token[token.lastgroup]))
            position = token.end()
        self._at = self._depth = 0

    def read(self) -> float:
        value = self._sum()
        if self._at < len(self._tokens):
            raise ValueError(f"no number: {self._tokens[self._at :]}")
        return value

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, *signs: str) -> str:
        """Takes one of the signs or commands if it is the next one."""
        kind, text = self._next()
        if kind not in ("sign", "command") or text not in signs:
            return ""
        self._at += 1
        return text

    def _sum(self) -> float:
        value = self._product()
        while sign := self._take("+", "-"):
            value += self._product() if sign == "+" else -self._product()
        return value

    def _product(self) -> float:
        value = self._signed()
        while True:
            if self._take("*", "cdot", "times"):
                value *= self._signed()
            elif self._take("/", "div"):
                value /= self._signed()
            elif self._continues():
                value *= self._power()
            else:
                return value

    def _continues(self) -> bool:
        """Whether a factor follows without a sign between: never two numbers."""
        kind, text = self._next()
        return kind == "command" or text in ("(", "{")

    def _signed(self) -> float:
        if sign := self._take("+", "-"):
            return self._signed() if sign == "+" else -self._signed()
        return self._power()

    def _power(self) -> float:
        base = self._atom()
        if not self._take("^"):
            return base
        return math.pow(base, -self._atom() if self._take("-") else self._atom())

    def _argument(self) -> float:
        r"""What a command applies to: a group, or one digit, as in ``\frac12``."""
        kind, text = self._next()
        if kind == "number" and len(text) > 1:
            self._tokens[self._at] = (kind, text[1:])
            return float(text[0])
        return self._atom()

    def _group(self, opening: str) -> float:
        self._depth += 1
        if self._depth > _DEEPEST or not self._take(opening):
            raise ValueError(f"no group in {opening}")
        value = self._sum()
        if not self._take(_CLOSING[opening]):
            raise ValueError(f"{opening} is not closed")
        self._depth -= 1
        return value

    def _atom(self) -> float:
        kind, text = self._next()
        if text in ("(", "{"):
            return self._group(text)
        self._at += 1
        if kind == "number":
            return float(text)
        if kind != "command":
            raise ValueError(f"no number: {text}")
        if text == "frac":
            return self._argument() / self._argument()
        if text == "sqrt":
            root = self._group("[") if self._next()[1] == "[" else 2.0
            return math.pow(self._argument(), 1 / root)
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text in _FUNCTIONS:
            return _FUNCTIONS[text](self._power())
        raise ValueError(f"no number: {text}")
