"""Reading frozen dataclasses from plain mappings, with errors that name the field."""

from collections.abc import Collection, Mapping
from typing import Any

from perl_jax.settings import suggestion


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
