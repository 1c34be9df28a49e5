"""Configurations: frozen dataclasses whose annotations define the allowed values of their fields.

A field states its bounds with ``annotated-types``, as in ``Annotated[int, Ge(1)]``, and its choices
as a ``Literal``. `Checked` checks every new instance, whether Python code or `read_config` makes
it. NaN and infinity are refused.
"""

import ast
import dataclasses
import functools
import math
import operator
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen, Predicate

from perl_jax.legible import brief, field_name, suggestion

T = TypeVar("T")


@dataclass(frozen=True)
class Expects:
    """In an annotation: the words for the expected value in messages, instead of its bounds."""

    text: str


@dataclass(frozen=True)
class MayBeInfinite:
    """In an annotation: infinity is allowed for this number."""


Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
PositiveOrZero = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1), Expects("a share from 0 to 1")]
Dtype = Annotated[Literal["float32", "bfloat16"], Expects("float32 or bfloat16")]


# The test of each bound, written so that NaN always fails, and the words for the limit.
_BOUNDS: dict[type, tuple[Callable[[Any, Any], Any], str | None]] = {
    Ge: (operator.ge, "at least"),
    Gt: (operator.gt, "more than"),
    Le: (operator.le, "at most"),
    Lt: (operator.lt, "less than"),
    MinLen: (lambda value, limit: len(value) >= limit, "at least"),
    MaxLen: (lambda value, limit: len(value) <= limit, None),
    Predicate: (lambda value, function: function(value), None),
}


class WrongType(TypeError, ValueError):
    """A field holds a value of another type; also a ValueError, as a configuration is data."""


# Without eq=False, classes that compare by identity would inherit a comparison of no fields.
@dataclass(frozen=True, eq=False)
class Checked:
    """The base of configurations: every instance satisfies the annotations of its fields.

    Raises:
        ValueError: A value is out of its range or no choice; the message starts with the field.
        WrongType: A value has another type. An int is accepted for a float; a bool for neither.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in hints_of(kind).items():
            check_value(hint, getattr(self, name), name)
        self._check_together()

    def _check_together(self) -> None:
        """Raises ValueError if fields that are valid alone do not fit together."""

    @classmethod
    def _unset(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of fields that a mapping leaves out, where they depend on those it gives."""
        return {}


def check_choice(path: str, value: object, choices: Iterable[Any], expected: str = "") -> None:
    """Raises ValueError unless the value is one of the choices, of the same type."""
    if not any(type(choice) is type(value) and choice == value for choice in choices):
        names = [str(choice) for choice in choices]
        expected = expected or f"one of {', '.join(names)}"
        raise ValueError(
            f"{path}: expected {expected}; got {brief(value)}{suggestion(value, names)}"
        )


def finite_number(path: str, value: Any) -> float:
    """A value as a float; raises ValueError unless it is a number that a float can hold."""
    if not (_is_a(float, value) and _is_finite(value, ())):
        raise ValueError(f"{path}: expected a finite number, got {brief(value)}")
    return float(value)


def check_value(hint: Any, value: Any, path: str) -> None:
    """Raises ValueError or `WrongType` unless a value satisfies an annotation.

    Args:
        hint: A type, with bounds if it is ``Annotated``, and possibly ``| None``.
        value: The value of a field with this annotation.
        path: The name of the value in messages.
    """
    kind, bounds, optional = taken_apart(hint)
    if value is None and optional:
        return
    said = next((bound.text for bound in bounds if isinstance(bound, Expects)), "")
    if kinds := alternatives(kind):
        _check_alternatives(kinds, value, path, said)
        return
    base, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if base is Literal:
        check_choice(path, value, arguments, said)
        return
    if not _is_a(base, value):
        expected, got = said or _type_text(kind, bounds, optional), brief(value)
        if not said and base not in (float, bool, tuple):
            got = f"{type(value).__name__} {got}"
        raise WrongType(f"{path}: expected {expected}; got {got}")
    if base is tuple:
        _check_items(arguments, value, path)
    elif isinstance(value, Mapping):
        item = arguments[1] if arguments else Any
        for name, inner in value.items():
            if not isinstance(name, str):
                raise WrongType(f"{path}: expected text as the names of fields; got {brief(name)}")
            check_value(item, inner, f"{path}.{field_name(name)}")
    elif base is Any and isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            check_value(Any, inner, f"{path}[{place}]")
    if not (_is_finite(value, bounds) and all(_holds(bound, value) for bound in bounds)):
        expected = said or _bounds_or_none(kind, bounds, optional)
        got = brief(value) if value not in ((), {}) else "none"
        raise ValueError(f"{path}: expected {expected}; got {got}")


def _check_alternatives(kinds: tuple[Any, ...], value: Any, path: str, said: str) -> None:
    """Checks a value of a field of several kinds by the one that has its type."""
    if (fitting := _fitting(kinds, value)) is not None:
        check_value(fitting, value, path)
        return
    names = [str(name) for kind in kinds for name in choices_of(kind)]
    expected = said or " or ".join(_alternative_text(kind) for kind in kinds)
    raise WrongType(f"{path}: expected {expected}; got {brief(value)}{suggestion(value, names)}")


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The kinds of a field of several, such as ``Literal["auto"] | tuple[int, ...]``; else none."""
    several = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return tuple(one for one in typing.get_args(kind) if one is not type(None)) if several else ()


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The choices of an annotation that is a ``Literal``; else none."""
    kind, _, _ = taken_apart(hint)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _fitting(kinds: tuple[Any, ...], value: Any) -> Any:
    """The one of several kinds that has a value's type, or is a Literal with it; else None."""
    for hint in kinds:
        kind, _, _ = taken_apart(hint)
        base = typing.get_origin(kind) or kind
        if base is Literal:
            fits = any(type(one) is type(value) and one == value for one in choices_of(hint))
        else:
            fits = _is_a(base, value)
        if fits:
            return hint
    return None


def _alternative_text(hint: Any) -> str:
    kind, bounds, optional = taken_apart(hint)
    if said := [bound.text for bound in bounds if isinstance(bound, Expects)]:
        return said[0]
    names = ", ".join(map(str, choices_of(hint)))
    return f"one of {names}" if "," in names else names or _type_text(kind, bounds, optional)


def _check_items(kinds: tuple[Any, ...], values: tuple[Any, ...], path: str) -> None:
    for place, (kind, value) in enumerate(zip(_kinds(kinds, values, path), values, strict=True)):
        if typing.get_origin(kind) is not Literal:
            check_value(kind, value, f"{path}[{place}]")
        elif value not in (choices := typing.get_args(kind)):
            raise ValueError(
                f"{path}: expected some of {', '.join(choices)}; got {brief(values)}"
                + suggestion(value, choices)
            )


def _kinds(kinds: tuple[Any, ...], values: Collection[Any], path: str) -> tuple[Any, ...]:
    """The annotation of each item of a tuple."""
    if kinds[-1] is Ellipsis:
        return kinds[:1] * len(values)
    if len(kinds) != len(values):
        raise WrongType(f"{path}: expected {len(kinds)} values; got {brief(values)}")
    return kinds


def _is_a(kind: Any, value: Any) -> bool:
    if isinstance(value, bool) or kind is Any:
        return kind in (bool, Any)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _holds(bound: Any, value: Any) -> bool:
    if isinstance(bound, Expects | MayBeInfinite):
        return True
    if type(bound) not in _BOUNDS:
        raise NotImplementedError(
            f"annotation: expected bounds of annotated-types; got {brief(bound)}"
        )
    keeps, _ = _BOUNDS[type(bound)]
    return bool(keeps(value, _limit(bound)))


def _limit(bound: Any) -> Any:
    """The limit of a bound of annotated-types, which has just this one field."""
    return getattr(bound, dataclasses.fields(bound)[0].name)


def _is_finite(value: Any, bounds: Collection[Any]) -> bool:
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return False  # no float of a field or of a library holds it
    if not isinstance(value, float) or math.isfinite(value):
        return True
    return MayBeInfinite() in bounds and not math.isnan(value)


def _type_text(kind: Any, bounds: list[Any], optional: bool) -> str:
    """The name of a type in messages; for a float, with its range."""
    if kind is float:
        return _bounds_or_none(kind, bounds, optional)
    if kind is bool:
        return "true or false"
    base = typing.get_origin(kind) or kind
    return "a tuple" if base is tuple else getattr(base, "__name__", str(base))


def _bounds_or_none(kind: Any, bounds: list[Any], optional: bool) -> str:
    return (bounds_text(kind, bounds) or "another value") + (" or None" if optional else "")


def bounds_text(kind: Any, bounds: list[Any]) -> str:
    """The bounds of an annotation in words; empty if it has none and is no number."""
    known = [(_BOUNDS[type(bound)][1], bound) for bound in bounds if type(bound) in _BOUNDS]
    limits = [f"{words} {_limit(bound):g}" for words, bound in known if words]
    text = " and ".join(limits)
    if kind in (float, Any):
        text = f"a number of {text}" if limits else "a finite number"
        text = "a positive number" if limits == ["more than 0"] else text
    return text


@functools.cache
def hints_of(kind: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def taken_apart(hint: Any) -> tuple[Any, list[Any], bool]:
    """The type in an annotation, its bounds, and whether None is allowed too.

    The type of a field of several kinds is a union; see `alternatives`.
    """
    bounds: list[Any] = []
    optional = False
    while True:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            hint = arguments[0]
            for bound in arguments[1:]:
                # isinstance() would look for each member of the protocol, every time.
                several: Any = GroupedMetadata in type(bound).__mro__
                bounds += bound if several else [bound]
        elif origin in (typing.Union, types.UnionType):
            optional = optional or type(None) in arguments
            kinds = [kind for kind in arguments if kind is not type(None)]
            if len(kinds) > 1:
                return hint, bounds, optional
            hint = kinds[0]
        else:
            return hint, bounds, optional


class FlagText(str):
    """A flag's value as text, until the type of its field decides how to read it."""

    def literal(self) -> Any:
        """The text as a Python literal, or as ``true`` or ``false``; else the text itself."""
        if self in ("true", "false"):
            return self == "true"
        try:
            return ast.literal_eval(self)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return str(self)


def read_config(kind: type[T], config: Mapping[str, Any], path: str = "config") -> T:
    """Builds a dataclass, and the dataclasses in it, from a plain mapping.

    Args:
        kind: The dataclass.
        config: Its fields; a ConfigDict is allowed.
        path: The name of the mapping in messages.

    Raises:
        ValueError: A key is unknown (with a suggestion), a required one is missing, or a value is
            out of its range; the message has the path of the field.
        TypeError: A value has the wrong type.
    """
    if not isinstance(config, Mapping) and not hasattr(config, "to_dict"):
        raise WrongType(f"{path}: expected fields of {kind.__name__}; got {brief(config)}")
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = hints_of(typing.cast(Any, kind))
    read = {}
    for name, value in values.items():
        place = f"{path}.{field_name(name)}"
        if name not in fields:
            expected = ", ".join(fields)
            hint = suggestion(name, fields)
            raise ValueError(f"{place}: unknown key{hint}; expected some of {expected}")
        read[name] = _converted(hints[name], value, place)
        check_value(hints[name], read[name], place)
    missing = [
        name
        for name, item in fields.items()
        if name not in read and item.default is item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(missing)}; got only {', '.join(read)}")
    unset = kind._unset(read) if issubclass(kind, Checked) else {}
    try:
        return kind(**{**unset, **read})
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}.{error}") from error


def _converted(hint: Any, value: Any, path: str) -> Any:
    """Converts a value of a file or a flag to the type of its annotation, if possible."""
    kind, _, optional = taken_apart(hint)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(value, FlagText):
        value = _of_flag(hint, value)
    if value is None and optional:
        return None
    if dataclasses.is_dataclass(kind):
        return read_config(kind, value, path)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise WrongType(f"{path}: expected a list; got {brief(value)}")
        kinds = _kinds(arguments, value, path)
        return tuple(
            _converted(item, inner, f"{path}[{place}]")
            for place, (item, inner) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is Mapping and isinstance(value, Mapping):
        return {
            name: _converted(arguments[1], item, f"{path}.{field_name(name)}")
            for name, item in value.items()
        }
    if kinds := alternatives(kind):
        value = tuple(value) if isinstance(value, list) else value
        fitting = _fitting(kinds, value)
        return value if fitting is None else _converted(fitting, value, path)
    if kind is float and type(value) is int and _is_finite(value, ()):
        return float(value)
    return _without_flags(value) if kind is Any else value


def _of_flag(hint: Any, text: FlagText) -> Any:
    r"""Reads a flag's text for its field: a name such as ``2024`` stays text if text fits.

    Text in quotes is what the quotes hold, so that ``'None'`` is a name and ``'\n'`` a new line.
    """
    kind, bounds, optional = taken_apart(hint)
    literal = text.literal()
    if isinstance(literal, str):
        infinite = MayBeInfinite() in bounds and literal in ("inf", "-inf")
        return float(literal) if infinite else literal
    if kind is int and isinstance(literal, float) and literal.is_integer():
        return int(literal)
    kinds = alternatives(kind) or (kind,)
    named = str in kinds or any(text in choices_of(one) for one in kinds)
    return literal if (literal is None and optional) or not named else str(text)


def _without_flags(value: Any) -> Any:
    """A value of any type, with the texts of flags in it read as literals."""
    if isinstance(value, Mapping):
        return {name: _without_flags(item) for name, item in value.items()}
    return value.literal() if isinstance(value, FlagText) else value


def plain(config: Any) -> Any:
    """A configuration as JSON values, to be stored, compared and fingerprinted."""
    if dataclasses.is_dataclass(config):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(name): plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config
