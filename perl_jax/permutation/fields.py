"""Reading frozen dataclasses from plain mappings, with errors that name the field."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any


def suggestion(value: object, choices: Collection[str]) -> str:
    """`` (did you mean 'x'?)`` where one of the choices is close to the value, else nothing."""
    close = difflib.get_close_matches(str(value).lower(), [c.lower() for c in choices], n=1)
    match = [c for c in choices if close and c.lower() == close[0]]
    return f" (did you mean {match[0]!r}?)" if match else ""


def check_choice(path: str, value: object, choices: Collection[str]) -> None:
    """Raises ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(
            f"{path}: expected one of {', '.join(choices)}; got {value!r}"
            + suggestion(value, choices)
        )


def check_keys(path: str, config: object, known: Collection[str]) -> Mapping[str, Any]:
    """Returns the mapping, or raises ValueError if it is none or holds an unknown key."""
    if not isinstance(config, Mapping):
        raise ValueError(f"{path}: expected a mapping; got {config!r}")
    for key in config:
        if key not in known:
            raise ValueError(
                f"{path}.{key}: unknown field; expected one of {', '.join(known)}"
                + suggestion(key, known)
            )
    return config


def check_strings(path: str, value: object) -> tuple[str, ...]:
    """Returns a list of strings as a tuple, or raises ValueError."""
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ValueError(f"{path}: expected a list of strings; got {value!r}")
    for item in value:
        if not isinstance(item, str):
            raise ValueError(f"{path}: expected a list of strings; got {item!r} in it")
    return tuple(value)
