"""Configuration files, and the flags that override their fields: ``--config.rollout.groups=8``.

Any field may be overridden, whether the file lists it or not: `perl_jax.settings` knows the fields
and reads the text of a flag by the type of its field.
"""

import contextlib
import dataclasses
import re
import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

from perl_jax.fields import REQUIRED, default_of, section_in
from perl_jax.legible import brief, suggestion
from perl_jax.settings import FlagText, hints_of, read_config

T = TypeVar("T")

_PREFIX = "--config."
_NEGATED = "--noconfig."
# In a checkout a link to the files of configs/; in an installed package, copies of them.
_SHIPPED = Path(__file__).parent / "assets" / "configs"
# A name behind a dot, the place of an item, or a name in quotes that may hold dots.
_KEY = re.compile(r"""\.?(?P<name>[^.\[\]]+)|\[(?P<place>\d+)\]|\[(['"])(?P<quoted>.*?)\3\]""")


def split_overrides(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Takes the overrides out of a command line.

    An override is ``--config.a.b=VALUE`` or ``--config.a.b VALUE``; ``--config.a.b`` alone is true
    and ``--noconfig.a.b`` false. Arguments behind ``--`` are left alone.

    Returns:
        The text for each path, such as ``{"a.b": "VALUE"}``, where the last one given counts; and
        the other arguments.
    """
    overrides: dict[str, str] = {}
    others: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return overrides, [*others, argument, *waiting]
        # One dash is taken for two.
        flag = "-" + argument if argument.startswith(("-config.", "-noconfig.")) else argument
        if flag.startswith(_NEGATED):
            path, text = flag.removeprefix(_NEGATED), "false"
        elif flag.startswith(_PREFIX):
            path, equals, text = flag.removeprefix(_PREFIX).partition("=")
            if not equals:
                takes_next = bool(waiting) and not waiting[0].startswith("--")
                text = waiting.pop(0) if takes_next else "true"
        else:
            others.append(argument)
            continue
        # The last one counts where it stands: it may open a section that an earlier one closed.
        overrides.pop(path, None)
        overrides[path] = text
    return overrides, others


def shipped_configs() -> list[str]:
    """The names of the configurations that come with the package, such as ``demo``."""
    return sorted(path.stem for path in _SHIPPED.glob("*.py") if path.stem != "__init__")


def find_config(name: str) -> Path:
    """The file of a configuration: that one, or else a shipped one.

    The names of a shipped one are ``demo``, ``demo.py`` and ``configs/demo.py``.

    Raises:
        FileNotFoundError: There is neither; says where was looked, and names the shipped ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parent in (Path(), Path("configs")) and path.suffix in ("", ".py"):
        shipped = _SHIPPED / f"{path.stem}.py"
        if path.stem in shipped_configs():
            return shipped
    hint = suggestion(path.stem, shipped_configs())
    raise FileNotFoundError(
        f"{name}: no such configuration file; looked for {path.absolute()}, and for one of the "
        f"shipped configurations: {', '.join(shipped_configs())}{hint}"
    )


def open_config(kind: type[T], file: str, overrides: Mapping[str, str]) -> T:
    """Reads a configuration file as a dataclass, some of whose fields are overridden.

    Raises as `load_config` and `read_config` do.
    """
    return read_config(kind, load_config(file, overrides, kind))


def load_config(
    file: str, overrides: Mapping[str, str], kind: type[Any] | None = None
) -> dict[str, Any]:
    """Reads a configuration file and overrides some of its fields.

    Args:
        file: A Python file that defines ``get_config()``; ``FILE:TEXT`` calls ``get_config(TEXT)``.
            See `find_config`.
        overrides: From `split_overrides`. Sections that the file lacks, or has as None, are opened.
        kind: The dataclass of the configuration, if known: a section that the file lacks then has
            the dataclass's values, but for what is overridden.

    Returns:
        Nested dictionaries. Overridden values are `FlagText`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It fails, or defines no ``get_config()``, or a path leads through a plain value.
    """
    name, *text = file.split(":", 1)
    config = _run(find_config(name), text)
    if isinstance(config, ConfigDict):
        _set_references(config, overrides)
        config = config.to_dict()
    for path, value in overrides.items():
        config = _with(config, _keys(path), FlagText(value), "config", kind)
    return dict(config)


def _run(path: Path, text: Sequence[str]) -> Any:
    """What ``get_config`` of a file returns."""
    # configs/a.py may import configs.b, wherever the command is started.
    above = str(path.resolve().parent.parent)
    sys.path.append(above)
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config(*text) if callable(get_config) else None
    except Exception as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        words = " ".join(f"{type(error).__name__}: {said}".split())
        raise ValueError(f"{path}{_line_in(path, error)}: {words}") from error
    finally:
        sys.path.remove(above)
    if not callable(get_config):
        raise ValueError(f"{path}: expected a file that defines get_config()")
    if not isinstance(config, ConfigDict | Mapping):
        raise ValueError(f"{path}: expected a ConfigDict of get_config(); got {brief(config)}")
    return config


def _line_in(path: Path, error: Exception) -> str:
    """The last line of the file that an exception went through, as ``:12``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(path) else ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _set_references(config: ConfigDict, overrides: Mapping[str, str]) -> None:
    """Overrides the numbers of a file, so that fields that refer to them follow."""
    with config.unlocked(), config.ignore_type():
        for path, text in overrides.items():
            *sections, name = path.split(".")
            section: Any = config
            for one in sections:
                section = section.get(one) if isinstance(section, ConfigDict) else None
            value = FlagText(text).literal()
            held = section.get(name) if isinstance(section, ConfigDict) else None
            if isinstance(value, float) and value.is_integer() and isinstance(held, int):
                value = int(value)
            # A value of another type is an error of its own field, not of those that follow it.
            if isinstance(held, float) and isinstance(value, int | float):
                # Too large an integer is such a value too.
                with contextlib.suppress(OverflowError):
                    section[name] = float(value)
            elif isinstance(held, int) and isinstance(value, int):
                section[name] = value


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    rest = path
    while rest:
        if (match := _KEY.match(rest)) is None or path.startswith("."):
            raise ValueError(
                f"config.{path}: expected names with a dot between them, items of a list as [0], "
                f"and names with dots as ['a.b']; got {brief(rest)}"
            )
        name, place = match["name"] or match["quoted"], match["place"]
        keys.append(name if place is None else int(place))
        rest = rest[match.end() :]
    return keys or [""]


def _with(config: Any, keys: Sequence[str | int], value: Any, path: str, kind: Any) -> Any:
    """A configuration with another value at the end of the keys; nothing is changed in place."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(config, list | tuple) and isinstance(key, int):
        if key >= len(config):
            raise ValueError(f"{path}[{key}]: expected one of {len(config)} items, from [0]")
        items = list(config)
        items[key] = _with(items[key], rest, value, f"{path}[{key}]", kind)
        return tuple(items)
    if not isinstance(config, Mapping) or isinstance(key, int):
        where = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in keys)
        raise ValueError(f"{path}{where}: expected a field of a section; {path} is {config!r}")
    hints = hints_of(kind) if kind else {}
    inner = section_in(hints[key]) if key in hints else None
    held = config.get(key)
    held = held.literal() if isinstance(held, FlagText) else held
    if held is None and rest:
        absent = key in hints and key not in config
        held = _by_default(kind, key) if absent else {}
    return {**config, key: _with(held, rest, value, f"{path}.{key}", inner)}


def _by_default(kind: type, name: str) -> Any:
    """What a field holds that a file lacks; an empty section if it is closed, or must be given."""
    default = default_of(kind, name)
    if default in (None, REQUIRED) or default == _empty(type(default)):
        # What such a section lacks may depend on what the other flags set.
        return {}
    return as_fields(default)


def _empty(kind: type[Any]) -> Any:
    """What an empty section is read as; None if it must give fields, or is none."""
    if not dataclasses.is_dataclass(kind):
        return None
    needed = any(default_of(kind, item.name) is REQUIRED for item in dataclasses.fields(kind))
    return None if needed else read_config(kind, {})


def as_fields(config: Any) -> Any:
    """A configuration as nested dictionaries, which `read_config` turns into an equal one."""
    if dataclasses.is_dataclass(config):
        return {f.name: as_fields(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {name: as_fields(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(as_fields(value) for value in config)
    return config


def written(config: Any) -> str:
    """The text of a configuration file with every field of a configuration."""
    return f"def get_config():\n    return {_literal(as_fields(config), ' ' * 4)}\n"


def _literal(value: Any, indent: str) -> str:
    if isinstance(value, Mapping) and value:
        inner = indent + " " * 4
        rows = [f"{inner}{name!r}: {_literal(one, inner)},\n" for name, one in value.items()]
        return "{\n" + "".join(rows) + indent + "}"
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        inner = indent + " " * 4
        rows = [f"{inner}{_literal(one, inner)},\n" for one in value]
        return "(\n" + "".join(rows) + indent + ")"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    return repr(value)
