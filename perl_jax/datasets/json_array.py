"""A large JSON array, element by element."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_CHARACTERS_AT_ONCE = 2**20


def json_array(path: Path) -> Iterator[Any]:
    """Yields the elements of a JSON array file without holding the whole text.

    Raises:
        ValueError: The file is no whole JSON array in UTF-8; the message has the path.
    """
    try:
        yield from _elements(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected JSON in UTF-8: {error}") from error


def _elements(path: Path) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8") as file:
        text = file.read(_CHARACTERS_AT_ONCE).lstrip("\ufeff \t\r\n")
        if not text.startswith("["):
            raise ValueError(f"{path}: expected a JSON array; got {text[:20]!r}")
        at = _after_space(text, 1)
        while text[at : at + 1] != "]":
            try:
                value, end = decoder.raw_decode(text, at)
                following = _after_space(text, end)
            except json.JSONDecodeError:
                following = len(text)  # the element continues in the next piece, or is broken
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: {error}") from error
            if following < len(text):
                if text[following] not in ",]":
                    raise ValueError(f"{path}: expected , or ]; got {text[following:][:20]!r}")
                yield value
                at = _after_space(text, following + (text[following] == ","))
            elif more := file.read(max(_CHARACTERS_AT_ONCE, len(text) - at)):
                text = text[at:].lstrip() + more
                at = _after_space(text, 0)
            else:
                raise ValueError(f"{path}: expected a whole JSON array; it ends {text[-40:]!r}")


def _after_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return space.end() if space else start
