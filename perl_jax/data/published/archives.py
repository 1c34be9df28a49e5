"""Images in zip files, read by name without extracting anything."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from perl_jax.data.source import BadRow
from perl_jax.processing.decode import MAX_BYTES

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
# What zipfile raises at a member that is damaged, encrypted or packed in an unknown way.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
)  # fmt: skip


class ImageZips:
    """The members of several zip files, by their path relative to the root of the files.

    Folders that hold everything in a zip file may be left out of a path: ``a.jpg`` also names
    ``images/a.jpg`` where nothing lies outside of ``images/``.

    Args:
        paths: The zip files.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not a whole zip file.
    """

    def __init__(self, paths: Sequence[Path]):
        self._zips: list[tuple[zipfile.ZipFile, list[str]]] = []
        try:
            for path in paths:
                self._zips.append(_open(path))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the files."""
        for opened, _ in self._zips:
            opened.close()

    def read(self, name: str, row: str) -> bytes | None:
        """The bytes of a member, or None where no zip file holds one of that name.

        Args:
            name: Its path.
            row: Names the row that shows it.

        Raises:
            BadRow: ``unsafe_path`` (the name, or a member that is no regular file),
                ``ambiguous_image`` (different members of that name), ``too_large`` or
                ``damaged_zip_member``.
        """
        path = PurePosixPath(name)
        if _URL.match(name) or "\0" in name or path.is_absolute() or ".." in path.parts:
            raise BadRow("unsafe_path", row, f"{name!r} is not a path within a zip file")
        found = [
            (opened, member)
            for opened, roots in self._zips
            for root in roots
            if (member := opened.NameToInfo.get(f"{root}{path}")) is not None
        ]
        if not found:
            return None
        if len({(member.CRC, member.file_size) for _, member in found}) > 1:
            names = ", ".join(_where(*one) for one in found)
            raise BadRow("ambiguous_image", row, f"{name!r} may be any of {names}")
        return _read(*found[0], row)


def _open(path: Path) -> tuple[zipfile.ZipFile, list[str]]:
    """A zip file, and the folders in it that paths may be relative to."""
    try:
        opened = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path}: expected a whole zip file: {error}") from error
    folders = [
        # An absolute name, which nobody can ask for, lies in no folder.
        "" if member.filename.startswith("/") else os.path.dirname(member.filename)
        for member in opened.infolist()
        # What macOS adds to zip files is no part of the data.
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    shared = os.path.commonpath(folders) if folders else ""
    parts = PurePosixPath(shared).parts
    roots = ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)]
    return opened, roots


def _read(opened: zipfile.ZipFile, member: zipfile.ZipInfo, row: str) -> bytes:
    where = _where(opened, member)
    # The upper half holds the mode of Unix, 0 where the file was packed without one.
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadRow("unsafe_path", row, f"{where} is not a regular file")
    if member.file_size > MAX_BYTES:
        raise BadRow("too_large", row, f"{where}: {member.file_size} bytes; at most {MAX_BYTES}")
    try:
        with opened.open(member) as file:
            # A header may understate the size; what is read is bounded all the same.
            data = file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise BadRow("damaged_zip_member", row, f"{where}: {error}") from error
    if len(data) > MAX_BYTES:
        raise BadRow("too_large", row, f"{where}: more than {MAX_BYTES} bytes")
    return data


def _where(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    return f"{os.path.basename(opened.filename or '')}/{member.filename}"
