"""Files that are whole or not there, locks on directories, and logs that a resumed run takes back.

A process may be killed at any moment: then the old file is there or the new one, and never a part
of it. The machine may lose its power too: a file that has its name is on the disk.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

_LOCK = ".lock"
_PARTIAL, _REPLACED = "partial", "replaced"
# Hidden, and random: nobody can guess the name and put a link there.
_LEFT = re.compile(rf"\.(?P<name>.+)\.[0-9a-f]{{16}}\.(?P<kind>{_PARTIAL}|{_REPLACED})")
# A process never conflicts with its own record locks, and closing any file of it drops the lock.
_held: set[Path] = set()


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write, which appears under its name when the block ends without an error.

    Until then, and after an error, a file of that name stays as it is. A path that is there and no
    regular file, such as ``/dev/stdout``, is written to directly.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    # A link stays a link.
    target = Path(os.path.realpath(path))
    partial = _beside(target, _PARTIAL)
    file = partial.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink()
        raise
    _sync(target.parent)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file that is whole or not there; text as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_directory(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """An empty directory to fill, which appears at ``path`` when the block ends without an error.

    Yields the directory under the name that it has until then. The parents of ``path`` are made.

    Args:
        path: Where it appears.
        replace: Whether it takes the place of what is there. A kill just between the old one and
            the new one leaves the old one aside, and the next `lock` of its parent puts it back.

    Raises:
        FileExistsError: There is something at ``path``, and it is not to be replaced.
    """
    target = Path(path)
    if not replace and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target}: expected a new or empty directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _beside(target, _PARTIAL), _beside(target, _REPLACED)
    partial.mkdir()
    try:
        yield partial
        for written in (*partial.rglob("*"), partial):
            _sync(written)
        if replace and target.exists():
            os.replace(target, old)
        os.replace(partial, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


class LockError(OSError):
    """A directory is in use by another process, or cannot be locked."""


@contextmanager
def lock(directory: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Makes a directory with its parents, yields it absolute, and keeps other processes out of it.

    The lock ends with the block or with the process, however that ends; children of the process do
    not inherit it. Files and directories that killed processes left unfinished in it are removed.

    Args:
        directory: On a file system with POSIX locks.
        what: What the directory is, for the messages.

    Raises:
        LockError: It cannot be made or written to, or another process has it; names that process.
    """
    path = Path(directory).expanduser().absolute()
    resolved = path.resolve()
    if resolved in _held:
        raise LockError(f"{what} {path}: in use by this process, {_this_process()}")
    with ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Unbuffered: closing would try once more to write what a full disk refused.
            file = stack.enter_context((path / _LOCK).open("a+b", buffering=0))
            _take(file, f"{what} {path}")
            file.truncate(0)
            file.write(_this_process().encode())
            _clear_unfinished(path)
        except LockError:
            raise
        except OSError as error:
            raise LockError(
                f"{what} {path}: expected a directory to write to; got {error}"
            ) from error
        _held.add(resolved)
        stack.callback(_held.remove, resolved)
        yield path


def _take(file: FileIO, what: str) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        holder = (file.read() or b"").decode(errors="replace") or "another process"
        raise LockError(
            f"{what}: in use by {holder}; stop that job or use another directory"
        ) from error
    except OSError as error:
        raise LockError(f"{what}: cannot be locked: {error}") from error


class ResumableLog:
    """A file of JSON lines with ascending numbers, of which a resumed run takes back the last ones.

    A line is written at once: a killed process loses none that `add` has returned from. `rows`
    passes over what is no line of the log, such as one that a kill cut off, and `take_back` removes
    it. If nothing was taken back, the first `add` takes back the rows from its number on, so that
    no row is there twice.

    Args:
        path: The file, made with its first row; its directory must be there.
        number: The name of the number in every row, such as ``step``.
    """

    def __init__(self, path: Path, number: str) -> None:
        self._path = path
        self._number = number
        self._ready = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as they stand in the file.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return (row for _, row in self._lines())

    def take_back(self, last: int) -> None:
        """Removes the rows whose number is above ``last``."""
        if self._path.exists():
            with whole_file(self._path) as file:
                for line, row in self._lines():
                    if row[self._number] <= last:
                        file.write(line.rstrip(b"\n") + b"\n")
        self._ready = True

    def add(self, number: int, row: Mapping[str, Any]) -> None:
        """Writes a row.

        Raises:
            OSError: It cannot be written; the file is as it was.
        """
        if not self._ready:
            self.take_back(number - 1)
        text = json.dumps({self._number: number, **row}, ensure_ascii=False) + "\n"
        # Half of a surrogate pair is not UTF-8, and becomes JSON's own escape.
        line = text.encode("utf-8", "backslashreplace")
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                # A full disk takes a part of the line, and the next line would follow on it.
                file.truncate(end)
                raise

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        # As bytes: a line may be cut off within a character, and hold Unicode's own line ends.
        with self._path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and isinstance(row.get(self._number), int):
                    yield line, row


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{kind}")


def _clear_unfinished(directory: Path) -> None:
    """Removes what a killed process left, and puts back what it had moved aside."""
    for path in sorted(directory.iterdir()):
        left = _LEFT.fullmatch(path.name)
        if left is None:
            continue
        target = directory / left["name"]
        if left["kind"] == _REPLACED and not target.exists():
            os.replace(path, target)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        # Not every file system can do so for a directory.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
