"""The files of a work directory, on the disk or in a bucket."""

from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from perl_jax.storage import RemoteFolder, find_directory


class RunFiles(AbstractContextManager["RunFiles"]):
    """Finds the files of a run; those in a bucket are copied to the disk when they are needed.

    Args:
        workdir: The work directory, or the URL of its copy: ``gs://bucket/run``.

    Raises:
        FileNotFoundError: There is no such directory.
        StorageError: The bucket does not answer.
    """

    def __init__(self, workdir: str) -> None:
        self.place = find_directory(workdir)
        self._folder = None if isinstance(self.place, Path) else RemoteFolder(self.place)
        self._sizes = self._folder.sizes() if self._folder else {}
        self._copies = TemporaryDirectory() if self._folder else None

    def __exit__(self, *error: object) -> None:
        if self._copies:
            self._copies.cleanup()

    @property
    def name(self) -> str:
        """The name of the run, that of its directory."""
        return str(self.place).rstrip("/").rpartition("/")[2]

    def names(self, folder: str) -> list[str]:
        """The files in a folder, as ``folder/file``, sorted; none if it is missing."""
        if isinstance(self.place, Path):
            found = self.place.glob(f"{folder}/*")
            return sorted(f"{folder}/{file.name}" for file in found if file.is_file())
        return sorted(name for name in self._sizes if name.rpartition("/")[0] == folder)

    def find(self, name: str) -> Path | None:
        """A file as it is on the disk; None if the run has none of this name."""
        if isinstance(self.place, Path):
            file = self.place / name
            return file if file.is_file() else None
        if name not in self._sizes or self._folder is None or self._copies is None:
            return None
        copy = Path(self._copies.name) / name
        if not copy.exists():
            self._folder.fetch(name, self._sizes[name], copy)
        return copy
