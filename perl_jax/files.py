"""Files that are written whole, locks on directories, and logs that a resumed run can cut back.

A process may be killed at any moment: the old file or the new one is then there, never a part of
it. The machine may also lose power: a file that has its name is on the disk.
"""

import errno
import fcntl
import itertools
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

_LOCK = ".lock"
_PARTIAL, _REPLACED = "partial", "replaced"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Hidden and random: nobody can guess the name and put a link there.
_LEFT = re.compile(rf"\.(?P<name>.+)\.[0-9a-f]{{16}}\.(?P<kind>{_PARTIAL}|{_REPLACED})")
# Record locks never conflict within a process, and closing any handle of the file drops one.
_held: set[Path] = set()


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name when the block ends without an error.

    Until then, and after an error, an existing file of that name stays unchanged. An existing path
    that is not a regular file, such as ``/dev/stdout``, is written to directly.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    # A symbolic link is kept: its target is replaced.
    target = Path(os.path.realpath(path))
    partial = _beside(target, _PARTIAL)
    file = partial.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException as error:
        partial.unlink()
        _name(error, target)
        raise
    _sync(target.parent)


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file that is either whole or not there; text as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def parse_json(text: str | bytes) -> Any:
    """Parses JSON; raises ValueError for anything else, and where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; raises ValueError, which names the file, if it holds anything else."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object; got {type(value).__name__}")
    return value


@contextmanager
def whole_directory(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Makes an empty directory, which appears at ``path`` when the block ends without an error.

    Yields the directory under a temporary name. The parents of ``path`` are made.

    Args:
        path: The final path.
        replace: Whether to replace an existing directory. A kill between removing the old one and
            naming the new one leaves the old one aside; the next `lock` of its parent restores it.

    Raises:
        FileExistsError: ``path`` exists, is not an empty directory, and is not to be replaced.
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

    The lock ends with the block or with the process, however that ends. Child processes do not
    inherit it. Unfinished files and directories that killed processes left in it are removed.

    Args:
        directory: A directory on a file system with POSIX locks.
        what: The name of the directory in messages.

    Raises:
        LockError: It cannot be made or written to, or another process, which is named, has it.
    """
    path = Path(directory).expanduser().absolute()
    resolved = path.resolve()
    if resolved in _held:
        raise LockError(f"{what} {path}: in use by this process, {_this_process()}")
    with ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Unbuffered: closing would retry a write that a full disk refused.
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
    """A file of JSON lines with ascending numbers, whose last rows a resumed run can remove.

    A line is written at once: a killed process loses no row that `add` has returned from. `rows`
    skips invalid lines, such as one truncated by a kill, and `take_back` removes them. Without an
    earlier `take_back`, the first `add` removes the rows from its number on, so that no row is
    there twice.

    Args:
        path: The file, made with its first row; its directory must exist.
        number: The name of the number in every row, such as ``step``.
    """

    def __init__(self, path: Path, number: str) -> None:
        self._path = path
        self._number = number
        self._ready = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the file, in its order.

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
            OSError: It cannot be written; the file is unchanged.
        """
        self.extend(number, [row])

    def extend(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes several rows of the same number.

        Raises:
            OSError: They cannot be written; the file is unchanged.
        """
        if not self._ready:
            self.take_back(number - 1)
        numbered = ({self._number: number, **row} for row in rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in numbered)
        # Half of a surrogate pair is not UTF-8; it is written as JSON's own escape.
        line = text.encode("utf-8", "backslashreplace")
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError as error:
                # A full disk may take a part of the line; the next line would follow that part.
                file.truncate(end)
                _name(error, self._path)
                raise

    def amend(self, number: int, values: Mapping[str, Any]) -> None:
        """Adds values to the row of this number; the file is whole at any moment."""
        with whole_file(self._path) as file:
            for line, row in self._lines():
                if row[self._number] == number:
                    line = self._line({**row, **values})
                file.write(line.rstrip(b"\n") + b"\n")

    def set_aside(self) -> None:
        """Moves the file to the first free name with a number, as in ``log.1.jsonl``."""
        if not self._path.exists():
            return
        for number in itertools.count(1):
            aside = self._path.with_suffix(f".{number}{self._path.suffix}")
            if not aside.exists():
                self._path.rename(aside)
                return

    @staticmethod
    def _line(row: Mapping[str, Any]) -> bytes:
        # Half of a surrogate pair is not UTF-8; it is written as JSON's own escape.
        text = json.dumps(row, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        # Read as bytes: a line may be cut within a character, or contain Unicode line ends.
        with self._path.open("rb") as file:
            for line in file:
                try:
                    row = parse_json(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and isinstance(row.get(self._number), int):
                    yield line, row


def _name(error: BaseException, path: Path) -> None:
    """Gives an error of a disk without room the name of the file that it was for."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
        error.filename = str(path)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{kind}")


def _clear_unfinished(directory: Path) -> None:
    """Removes what a killed process left, and restores directories that it had moved aside."""
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
        # Some file systems cannot sync a directory.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
