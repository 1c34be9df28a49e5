"""Reads the images of a published set from its directory or from its zip archives."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from perl_jax.data.sources.image_files import check_path, encoded_image
from perl_jax.data.sources.source import BadRow
from perl_jax.legible import brief
from perl_jax.processing.decode import MAX_BYTES

# What zipfile raises for damaged members; RuntimeError for encrypted ones.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, RuntimeError)
# zipfile unpacks only as many bytes of these as are read.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member(NamedTuple):
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: PurePosixPath

    @property
    def where(self) -> str:
        return f"{os.path.basename(self.archive.filename or '')}/{self.info.filename}"


class ImageStore:
    """Reads images by the paths in rows, without unpacking archives.

    A path is looked up in the directory, then in the zip archives, with or without the folders
    that all members share. Otherwise a member matches whose path ends with the wanted one, or the
    reverse: ``K12/1.png`` matches ``export/data/K12/1.png`` and ``1.png``. Different matches are an
    error of the row.

    Args:
        root: The directory that paths are relative to; nothing outside is read.
        archives: Zip files.

    Raises:
        FileNotFoundError: An archive is missing.
        ValueError: An archive is no whole zip file.
    """

    def __init__(self, root: Path, archives: Iterable[Path] = ()):
        self._root = root
        self._archives: list[zipfile.ZipFile] = []
        self._by_path: dict[str, list[_Member]] = {}
        self._by_name: dict[str, list[_Member]] = {}
        try:
            for path in archives:
                self._add(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the archives."""
        for archive in self._archives:
            archive.close()

    def read(self, image: Any, row: str) -> bytes:
        """Returns the encoded bytes of an image, unchecked; takes what `encoded_image` takes.

        Raises:
            BadRow: ``missing_image``, ``ambiguous_image``, ``unsafe_path`` (also for a member that
                is no regular file) or ``bad_image`` (also for a damaged or too large member).
            OSError: The storage fails.
        """
        try:
            return encoded_image(image, self._root, row)
        except BadRow as error:
            path = image.get("path") if isinstance(image, dict) else image
            if error.reason != "missing_image" or not path or not isinstance(path, str):
                raise
            member = self._find(path, row)
            if member is None:
                raise
        return _read(member, row)

    def _add(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"{path}: expected a whole zip file: {error}") from error
        self._archives.append(archive)
        members = list(_members(archive))
        folders = [member.path.parent for member in members]
        shared = len(PurePosixPath(os.path.commonpath(folders)).parts) if folders else 0
        for member in members:
            self._by_name.setdefault(member.path.name, []).append(member)
            for start in range(shared + 1):
                within = PurePosixPath(*member.path.parts[start:])
                self._by_path.setdefault(str(within), []).append(member)

    def _find(self, path: str, row: str) -> _Member | None:
        check_path(path, row)
        wanted = PurePosixPath(path)
        found = self._by_path.get(str(wanted)) or [
            member
            for member in self._by_name.get(wanted.name, [])
            if _ends_with(member.path, wanted) or _ends_with(wanted, member.path)
        ]
        if len({(member.info.CRC, member.info.file_size) for member in found}) > 1:
            names = ", ".join(member.where for member in found[:3])
            raise BadRow("ambiguous_image", row, f"{brief(path)} may be any of {names}")
        return found[0] if found else None


def _members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        # macOS adds __MACOSX to archives.
        foreign = path.is_absolute() or ".." in path.parts or path.parts[:1] == ("__MACOSX",)
        if not info.is_dir() and not foreign:
            yield _Member(archive, info, path)


def _ends_with(path: PurePosixPath, end: PurePosixPath) -> bool:
    return path.parts[-len(end.parts) :] == end.parts


def _read(member: _Member, row: str) -> bytes:
    info, bad = member.info, partial(BadRow, "bad_image", row)
    # The upper half is the Unix mode, 0 if there is none.
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BadRow("unsafe_path", row, f"{member.where} is not a regular file")
    if info.compress_type not in _COMPRESSIONS:
        raise bad(f"{member.where}: expected a stored or deflated file")
    if info.file_size > MAX_BYTES:
        raise bad(f"{member.where}: {info.file_size} bytes; at most {MAX_BYTES} are read")
    try:
        with member.archive.open(info) as file:
            # Bounded, as a member may understate its size.
            return file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise bad(f"{member.where} cannot be read: {error}") from error
