"""Reads the encoded bytes of an image from a row, or from a file below a directory."""

import base64
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.processing.decode import MAX_BYTES
from perl_jax.storage import find_directory, read_start

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
_MAX_SHOWN = 200
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

    ``image`` is bytes, a path below ``root``, a ``data:`` URL, or a mapping with ``bytes`` and
    ``path``, where bytes win. Nothing outside ``root`` is read.

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
    if path.startswith("data:"):
        return _of_data_url(path, row)
    if root is None and not _URL.match(path):
        raise BadRow(
            "missing_image",
            row,
            f"{_cut(path)} is a path, but no image_root is given to find it in",
        )
    return _read_below(root, path, row)


def check_path(name: str, row: str, root: Path | str | None = None) -> None:
    """Raises `BadRow` ``unsafe_path`` for a URL, an absolute path, ``..`` or a null character."""
    pure = PurePath(name.removeprefix("file://"))
    if pure.is_absolute() and "\0" not in name and ".." not in pure.parts:
        advice = "write it relative to that"
        if isinstance(root, Path) and pure.is_relative_to(root):
            advice = f"write {_cut(str(pure.relative_to(root)))}"
        what = "is an absolute path; paths start at image_root"
        raise BadRow("unsafe_path", row, f"{_cut(name)} {what}: {advice}")
    if _URL.match(name):
        advice = "download the file, and write its path below image_root"
        raise BadRow("unsafe_path", row, f"{_cut(name)} is a URL, which is not fetched: {advice}")
    if not _is_unicode(name):
        raise BadRow("unsafe_path", row, f"{_cut(name)} is no name of a file: it is not Unicode")
    if "\0" in name or ".." in pure.parts:
        raise BadRow("unsafe_path", row, f"{_cut(name)} is not a path below image_root")


def _is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, which no file system takes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _cut(path: str) -> str:
    return repr(path if len(path) <= _MAX_SHOWN else f"{path[:_MAX_SHOWN]}...")


def _of_data_url(url: str, row: str) -> bytes:
    kind, comma, data = url.partition(",")
    try:
        if comma and kind.endswith(";base64"):
            return base64.b64decode("".join(data.split()), validate=True)
    except ValueError:
        pass
    expected = "expected data:image/...;base64, and the bytes of an image in base64"
    raise BadRow("bad_image", row, f"{expected}; got {_cut(url)}")


def _read_below(root: Path | str | None, name: str, row: str) -> bytes:
    check_path(name, row, root)
    assert root is not None  # without a root, only URLs come here, and they are refused
    if isinstance(root, str):
        return _read_remote(root, str(PurePath(name)), row)
    try:
        path = Path(os.path.realpath(root / name, strict=True))
        if not path.is_relative_to(os.path.realpath(root)):
            raise BadRow("unsafe_path", row, f"{_cut(name)} leads out of image_root")
        # Anything but a regular file may block for ever (a pipe) or never end (a device).
        if not path.is_file():
            raise BadRow("unsafe_path", row, f"{_cut(name)} is not a regular file")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        hint = ""
        if len(name) > _MAX_SHOWN and _BASE64.fullmatch(name):
            hint = " (for an image in base64, write data:image/png;base64,...)"
        raise BadRow("missing_image", row, f"{_cut(name)}: {error.strerror}{hint}") from error


def _read_remote(root: str, name: str, row: str) -> bytes:
    try:
        return read_start(root, name, MAX_BYTES + 1)
    except IsADirectoryError as error:
        raise BadRow("unsafe_path", row, f"{_cut(name)} is not a regular file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadRow("missing_image", row, f"{_cut(name)}: no such file in {root}") from error
