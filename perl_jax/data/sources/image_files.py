"""Reads the encoded bytes of an image from a row, or from a file below a directory."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.processing.decode import MAX_BYTES
from perl_jax.storage import find_directory, read_start

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
# Errors of a path. All others are failures of the storage and end the run: dropping rows while a
# disk does not answer would drop other rows in every run.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES}


def image_directory(root: str | Path | None) -> Path | str | None:
    """The image directory as an absolute path or a URL; raises FileNotFoundError if missing."""
    try:
        return None if root is None else find_directory(root)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image_root: {error}") from error


def encoded_image(image: Any, root: Path | str | None, row: str) -> bytes:
    """Returns the encoded bytes of an image, without decoding them.

    ``image`` is bytes, a path below ``root``, or a mapping with ``bytes`` and ``path``, where bytes
    win. Nothing outside ``root`` is read.

    Raises `BadRow` ``missing_image``, ``unsafe_path``, or ``bad_image`` for other types; OSError if
    the storage fails.
    """
    path = image
    if isinstance(image, Mapping):
        path = image.get("path") if image.get("bytes") is None else image["bytes"]
    if isinstance(path, bytes):
        return path
    if not path:
        raise BadRow("missing_image", row, "an image has neither bytes nor a path")
    if not isinstance(path, str):
        got = type(path).__name__
        raise BadRow("bad_image", row, f"expected bytes, a path, or both; got {got} {path!r:.50}")
    if root is None:
        raise BadRow("missing_image", row, f"{path!r} is a path, but no image_root is given")
    return _read_below(root, path, row)


def check_path(name: str, row: str) -> None:
    """Raises `BadRow` ``unsafe_path`` for a URL, an absolute path, ``..`` or a null character."""
    pure = PurePath(name)
    if _URL.match(name) or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        raise BadRow("unsafe_path", row, f"{name!r} is not a path below image_root")


def _read_below(root: Path | str, name: str, row: str) -> bytes:
    check_path(name, row)
    if isinstance(root, str):
        return _read_remote(root, str(PurePath(name)), row)
    try:
        path = Path(os.path.realpath(root / name, strict=True))
        if not path.is_relative_to(os.path.realpath(root)):
            raise BadRow("unsafe_path", row, f"{name!r} leads out of image_root")
        # Anything but a regular file may block for ever (a pipe) or never end (a device).
        if not path.is_file():
            raise BadRow("unsafe_path", row, f"{name!r} is not a regular file")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise BadRow("missing_image", row, f"{name!r}: {error.strerror}") from error


def _read_remote(root: str, name: str, row: str) -> bytes:
    try:
        return read_start(root, name, MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise BadRow("unsafe_path", row, f"{name!r} is not a regular file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadRow("missing_image", row, f"{name!r}: no such file in {root}") from error
