"""The image files of a published set: unpacked below its directory, or still in its archives."""

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perl_jax.data.image_files import check_path, encoded_image
from perl_jax.data.source import BadRow
from perl_jax.processing.decode import MAX_BYTES


class ImageStore:
    """Reads images by the paths that rows hold.

    A path is looked for below the directory first, then in the zip archives, which may hold it in
    folders of their own, or without its first ones: ``K12/1.png`` is found as
    ``export/data/K12/1.png`` and as ``1.png``, as long as there is only one such file. Nothing is
    unpacked.

    Args:
        root: The directory that paths are relative to; nothing outside is read.
        archives: Zip files; those that do not exist are left out.

    Raises:
        ValueError: An archive is no whole zip file.
    """

    def __init__(self, root: Path, archives: Sequence[Path] = ()):
        self._root = root
        self._archives: list[zipfile.ZipFile] = []
        self._members: dict[str, list[tuple[zipfile.ZipFile, zipfile.ZipInfo]]] = {}
        for path in archives:
            if path.is_file():
                self._add(path)

    def close(self) -> None:
        """Closes the archives."""
        for archive in self._archives:
            archive.close()

    def read(self, image: Any, row: str) -> bytes:
        """Returns the encoded bytes of an image, which are not looked at.

        Args:
            image: Bytes, a path, or a mapping with ``bytes`` and ``path``, where bytes go first.
            row: Names the row.

        Raises:
            BadRow: ``missing_image``, ``unsafe_path`` or ``bad_image`` (a damaged archive member).
            OSError: The storage fails.
        """
        try:
            return encoded_image(image, self._root, row)
        except BadRow as error:
            path = image.get("path") if isinstance(image, dict) else image
            if error.reason != "missing_image" or not path:
                raise
            member = self._find(path, row)
            if member is None:
                raise
        return _read_member(*member, row)

    def _add(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: expected a whole zip file: {error}") from error
        self._archives.append(archive)
        for info in archive.infolist():
            if not info.is_dir():
                name = info.filename.rpartition("/")[2]
                self._members.setdefault(name, []).append((archive, info))

    def _find(self, path: str, row: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo] | None:
        check_path(path, row)
        wanted = "/" + Path(path).as_posix()
        found = [
            member
            for member in self._members.get(wanted.rpartition("/")[2], [])
            if wanted.endswith(name := "/" + member[1].filename) or name.endswith(wanted)
        ]
        if len(found) > 1:
            names = ", ".join(info.filename for _, info in found[:3])
            raise BadRow("missing_image", row, f"{path!r} may be any of {names}")
        return found[0] if found else None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, row: str) -> bytes:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise BadRow("unsafe_path", row, f"{info.filename!r} is a link in {archive.filename}")
    try:
        with archive.open(info) as file:
            return file.read(MAX_BYTES + 1)
    # RuntimeError: it is encrypted, or compressed in a way that is not known.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        message = f"{info.filename!r} of {archive.filename} cannot be read: {error}"
        raise BadRow("bad_image", row, message) from error
