"""From nested mappings, as configuration files hold them, to frozen dataclasses, and back."""

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class FlagText(str):
    """A value as a flag has it, until the type of its field says how to read it."""

    def literal(self) -> Any:
        """The Python literal that it is, with ``true`` and ``false``; else the text itself."""
        if self in ("true", "false"):
            return self == "true"
        try:
            return ast.literal_eval(self)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return str(self)


def read_config(kind: type[T], config: Mapping[str, Any], path: str = "config") -> T:
    """Builds a dataclass, and those that it holds, from a plain mapping.

    Args:
        kind: The dataclass.
        config: Its fields; a ConfigDict will do.
        path: What messages call the mapping.

    Raises:
        ValueError: A key is unknown (with a suggestion), a required one is missing, or a value is
            out of its range; the message has the path of the field.
        TypeError: A value has the wrong type.
    """
    if not isinstance(config, Mapping) and not hasattr(config, "to_dict"):
        raise TypeError(f"{path}: expected fields of {kind.__name__}; got {config!r}")
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    from_config = vars(kind).get("from_config")
    if from_config is not None:
        values = _without_flags(values)
        return getattr(kind, "from_config")(values, path)  # noqa: B009 - mypy knows no such method
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"{path}.{name}: unknown key{hint}; expected some of {', '.join(fields)}"
            )
    hints = typing.get_type_hints(kind)
    read = {name: _read(hints[name], value, f"{path}.{name}") for name, value in values.items()}
    missing = [
        item.name
        for item in fields.values()
        if item.name not in read
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(missing)}; got only {', '.join(read)}")
    try:
        return kind(**read)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}.{error}") from error


def _read(hint: Any, value: Any, path: str) -> Any:
    """A value as its annotation wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, FlagText):
        value = _of_flag(hint, value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _read(hint, value, path)
    if dataclasses.is_dataclass(hint):
        return read_config(hint, value, path)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{path}: expected a list; got {value!r}")
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise TypeError(f"{path}: expected {len(kinds)} values; got {value!r}")
        return tuple(
            _read(kind, item, f"{path}[{n}]")
            for n, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is Mapping and isinstance(value, Mapping):
        return {name: _read(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    if origin is typing.Literal:
        if value not in arguments:
            close = difflib.get_close_matches(str(value), map(str, arguments), 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"{path}: expected one of {', '.join(map(str, arguments))}; got {value!r}{hint}"
            )
        return value
    return _read_plain(origin or hint, value, path)


def _of_flag(hint: Any, text: FlagText) -> Any:
    """What a flag says, read for its field: a name such as ``1e5`` stays one where text fits."""
    literal = text.literal()
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    choices = typing.get_args(hint) if union else (hint,)
    named = any(text in typing.get_args(choice) for choice in choices)
    if (literal is None and type(None) in choices) or not (str in choices or named):
        return literal
    return str(text)


def _read_plain(kind: Any, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any:
        return _without_flags(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = getattr(kind, "__name__", str(kind))
        raise TypeError(f"{path}: expected {name}; got {type(value).__name__} {value!r}")
    return value


def _without_flags(value: Any) -> Any:
    """A value of any type, with what flags have said in it read as literals."""
    if isinstance(value, Mapping):
        return {name: _without_flags(item) for name, item in value.items()}
    return value.literal() if isinstance(value, FlagText) else value


def plain(config: Any) -> Any:
    """A configuration as JSON would hold it: to be stored, compared and fingerprinted."""
    if dataclasses.is_dataclass(config):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(name): plain(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config
