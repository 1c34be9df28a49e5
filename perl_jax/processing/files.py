"""Reading JSON files of a model directory, with errors that name the file and the field."""

from pathlib import Path
from typing import Any

from perl_jax.files import parse_json
from perl_jax.legible import brief


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the model directory lacks this file")
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; an absent file gives an empty one."""
    return read_json(path) if path.is_file() else {}


def integer(value: Any, where: str, *, minimum: int = 1) -> int:
    """Returns ``value``; raises ValueError unless it is an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{where}: expected an integer of at least {minimum}, got {brief(value)}")
    return value
