"""Configuration files, and the flags that override their fields: ``--config.rollout.groups=8``.

Any field may be overridden, whether the file lists it or not: `perl_jax.settings` knows the fields
and reads the text of a flag by the type of its field.
"""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from perl_jax.settings import FlagText

_PREFIX = "--config."
_NEGATED = "--noconfig."


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
        # absl, which reads the other flags, takes one dash for two.
        flag = "-" + argument if argument.startswith(("-config.", "-noconfig.")) else argument
        if flag.startswith(_NEGATED):
            overrides[flag.removeprefix(_NEGATED)] = "false"
        elif flag.startswith(_PREFIX):
            path, equals, text = flag.removeprefix(_PREFIX).partition("=")
            if not equals:
                takes_next = bool(waiting) and not waiting[0].startswith("--")
                text = waiting.pop(0) if takes_next else "true"
            overrides[path] = text
        else:
            others.append(argument)
    return overrides, others


def load_config(file: str, overrides: dict[str, str]) -> dict[str, Any]:
    """Reads a configuration file and overrides some of its fields.

    Args:
        file: A Python file that defines ``get_config()``; ``FILE:TEXT`` calls ``get_config(TEXT)``.
        overrides: From `split_overrides`. Sections that the file lacks, or has as None, are made.

    Returns:
        Nested dictionaries. Overridden values are `FlagText` where the file does not tell their
        type.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It defines no ``get_config()``, or a path leads through a plain value.
    """
    path, *text = file.split(":", 1)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such configuration file")
    get_config = runpy.run_path(path).get("get_config")
    if not callable(get_config):
        raise ValueError(f"{path}: expected a file that defines get_config()")
    config = ConfigDict(get_config(*text))
    # Fields that refer to others follow them, and fields may change their type: settings.py has
    # better words for a wrong one.
    with config.unlocked(), config.ignore_type():
        for name, value in overrides.items():
            _override(config, name, value)
    return config.to_dict()


def _override(config: ConfigDict, path: str, text: str) -> None:
    *sections, name = path.split(".")
    for number, section in enumerate(sections, start=1):
        if config.get(section) is None:
            config[section] = ConfigDict()
        if not isinstance(config[section], ConfigDict):
            where = ".".join(["config", *sections[:number]])
            raise ValueError(
                f"config.{path}: expected a field of a section; {where} is {config[section]!r}"
            )
        config = config[section]
    value, present = FlagText(text), config.get(name)
    config[name] = value if present is None or isinstance(present, str) else value.literal()
