"""The fields of a configuration: path, type, default and meaning.

What a field means stands under ``Attributes:`` in the docstring of its class, or of a class that
this one extends.
"""

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perl_jax.settings import Expects, alternatives, bounds_text, choices_of, hints_of, taken_apart

REQUIRED = dataclasses.MISSING
"""In the place of a default: the field must be given."""


@dataclass(frozen=True)
class Field:
    """A field of a configuration.

    Attributes:
        path: The way from the whole configuration, such as ``rollout.sampler.rows``. ``[0]`` stands
            for any item of a list of sections.
        owner: The dataclass that has it.
        name: The name in that dataclass.
        annotation: The type with its bounds.
        default: The value of a run that does not set it; `REQUIRED` if every run must.
        meaning: The words of the docstring; empty if it has none.
    """

    path: str
    owner: type
    name: str
    annotation: Any
    default: Any
    meaning: str

    @property
    def section(self) -> type | None:
        """The dataclass of a section, or of the sections in a list; None for a single value."""
        return section_in(self.annotation)


def fields_of(
    kind: type, path: str = "", default: Any = REQUIRED, above: tuple[type, ...] = ()
) -> Iterator[Field]:
    """All fields of a configuration and of its sections, each section before its fields.

    Args:
        kind: The dataclass.
        path: The way to it, with a dot at the end.
        default: The instance whose values are the defaults; without one, those of the class are.
        above: The classes around it. One that holds itself is not entered again.
    """
    for item in dataclasses.fields(kind):
        given = default_of(kind, item.name) if default is REQUIRED else getattr(default, item.name)
        hint, words = hints_of(kind)[item.name], meanings(kind).get(item.name, "")
        yield (one := Field(path + item.name, kind, item.name, hint, given, words))
        if (section := one.section) is not None and section not in (*above, kind):
            several = typing.get_origin(taken_apart(hint)[0]) is tuple
            inner = given if dataclasses.is_dataclass(given) else REQUIRED
            way = f"{one.path}{'[0]' if several else ''}."
            yield from fields_of(section, way, inner, (*above, kind))


@functools.cache
def default_of(kind: type, name: str) -> Any:
    """The default of a field, or `REQUIRED`."""
    item = next(item for item in dataclasses.fields(kind) if item.name == name)
    return item.default if item.default_factory is REQUIRED else item.default_factory()


def section_in(hint: Any) -> type | None:
    """The dataclass in an annotation, alone or as the items of a list, if there is one."""
    kind, _, _ = taken_apart(hint)
    if dataclasses.is_dataclass(kind):
        return typing.cast(type, kind)
    items = typing.get_args(kind) if typing.get_origin(kind) is tuple else alternatives(kind)
    found = (section_in(item) for item in items if item is not Ellipsis)
    return next((one for one in found if one is not None), None)


@functools.cache
def meanings(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those that it extends say of their fields."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, listed = _own_docstring(base).partition("\nAttributes:\n")
        listed = re.split(r"\n(?=\S)", listed)[0]
        for entry in re.split(r"\n(?=    \S)", listed):
            name, _, words = entry.strip().partition(":")
            found[name] = " ".join(words.split())
    return found


def summary(kind: type) -> str:
    """The text of a class's docstring before its attributes, with its paragraphs."""
    return _own_docstring(kind).partition("\nAttributes:\n")[0].strip()


def _own_docstring(kind: type) -> str:
    return inspect.cleandoc(kind.__dict__.get("__doc__") or "")


def type_text(hint: Any) -> str:
    """An annotation in words, such as ``a whole number of at least 1, or None``."""
    kind, bounds, optional = taken_apart(hint)
    said = next((bound.text for bound in bounds if isinstance(bound, Expects)), "")
    text = said or _kind_text(kind, bounds)
    if said and typing.get_origin(kind) is tuple and not said.startswith("a list"):
        text = f"a list: {said}"
    if not optional or "None" in text:
        return text
    return f"{text}, or None" if "," in text or " or " in text else f"{text} or None"


def _kind_text(kind: Any, bounds: list[Any]) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if several := alternatives(kind):
        return " or ".join(type_text(one) for one in several)
    if origin is Literal:
        names = [str(name) for name in choices_of(kind)]
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    if origin is tuple:
        every = arguments[-1] is Ellipsis
        if every and dataclasses.is_dataclass(arguments[0]):
            return "a list of sections"
        items = type_text(arguments[0]) if every else ", ".join(map(type_text, arguments))
        return f"a list; each: {items}" if every else f"a list of {len(arguments)}: {items}"
    if origin is Mapping:
        return f"names with values; each: {type_text(arguments[1])}"
    if dataclasses.is_dataclass(kind):
        return "a section"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    limits = bounds_text(kind, bounds) if kind is int else ""
    if kind is float:
        return bounds_text(kind, bounds)
    return words.get(kind, "any value") + (f" of {limits}" if limits else "")
