"""The image files of a published set: unpacked below its directory, or still in its archives."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from perl_jax.data.sources.image_files import check_path, encoded_image
from perl_jax.data.sources.source import BadRow
from perl_jax.processing.decode import MAX_BYTES

# What zipfile raises at a member that is damaged; RuntimeError where it is encrypted.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, RuntimeError)
# Of these no more is unpacked at once than is asked for.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member(NamedTuple):
    """A file in an archive, and its path there."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: PurePosixPath

    @property
    def where(self) -> str:
        return f"{os.path.basename(self.archive.filename or '')}/{self.info.filename}"


class ImageStore:
    """Reads images by the paths that rows hold.

    A path is looked for below the directory first, then in the zip archives, where it may be
    relative to a folder that holds everything. If there is no such file, it is looked for in other
    folders and without its own first ones: ``K12/1.png`` is found as ``export/data/K12/1.png`` and
    as ``1.png``. Several different matches are an error of the row. Nothing is unpacked.

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
        """Returns the encoded bytes of an image, unchecked; arguments as of `encoded_image`.

        Raises:
            BadRow: ``missing_image``, ``ambiguous_image``, ``unsafe_path`` (also a member that is
                no regular file) or ``bad_image`` (also a member that is damaged or too large).
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
        # The folders that hold everything.
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
            raise BadRow("ambiguous_image", row, f"{path!r} may be any of {names}")
        return found[0] if found else None


def _members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    """The files of an archive that a path may name."""
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        # What macOS adds to archives is no part of the data.
        foreign = path.is_absolute() or ".." in path.parts or path.parts[:1] == ("__MACOSX",)
        if not info.is_dir() and not foreign:
            yield _Member(archive, info, path)


def _ends_with(path: PurePosixPath, end: PurePosixPath) -> bool:
    return path.parts[-len(end.parts) :] == end.parts


def _read(member: _Member, row: str) -> bytes:
    info = member.info
    # The upper half holds the mode of Unix, 0 where the file was packed without one.
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BadRow("unsafe_path", row, f"{member.where} is not a regular file")
    if info.compress_type not in _COMPRESSIONS:
        raise BadRow("bad_image", row, f"{member.where}: expected a stored or deflated file")
    if info.file_size > MAX_BYTES:
        message = f"{member.where}: {info.file_size} bytes; at most {MAX_BYTES} are read"
        raise BadRow("bad_image", row, message)
    try:
        with member.archive.open(info) as file:
            # Without a bound, one that understates its size would be unpacked whole.
            return file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise BadRow("bad_image", row, f"{member.where} cannot be read: {error}") from error
