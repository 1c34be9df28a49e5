"""Finds, opens and reads files on a disk or in a bucket, and retries after failures.

A path is local, a ``file://`` URL, or a URL that fsspec knows, such as ``gs://`` and ``s3://``. Web
addresses are refused: their content may change during a run.
"""

import asyncio
import atexit
import functools
import glob
import io
import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.registry import known_implementations

T = TypeVar("T")

_log = logging.getLogger(__name__)

_URL = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://")
# Seconds before each further try: an overloaded bucket recovers within a minute.
_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
# A try without an answer ends after the first of these, and none begins after the second: of a
# bucket that is silent one hears within three minutes.
_TRY_SECONDS = 60.0
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.5
# Another try does not help against these.
_LASTING = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError,
    NotImplementedError, TypeError,
)  # fmt: skip
_BUFFER_BYTES = 2**20
# The extras of this package that install a client of a bucket.
_EXTRAS = {"gcs": "gcsfs", "s3": "s3fs"}
_failures = itertools.count(1)
# The process ends: reads of other threads end too, see `_watch_the_end`.
_ending = threading.Event()
_under_way: set[int] = set()


class StorageError(OSError):
    """A bucket failed at every try; the message names the file."""


def is_url(path: str | Path) -> bool:
    """Whether a path is in a bucket."""
    return bool(_URL.match(str(path))) and not str(path).startswith("file://")


def find_files(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """The files that paths and patterns name, as absolute paths or URLs, in the order given.

    Raises:
        FileNotFoundError: A path is missing, or a pattern matches nothing.
        ValueError: There are no paths.
        ImportError: The package for such URLs is not installed; names it.
    """
    found: list[str] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        matches = _find_remote(str(path)) if is_url(path) else _find_local(str(path))
        if not matches:
            raise FileNotFoundError(f"{path}: no such file, and no pattern that matches one")
        found += matches
    if not found:
        raise ValueError("paths: expected at least one file; got none")
    return found


def find_directory(path: str | Path) -> Path | str:
    """A directory as an absolute path or a URL; raises FileNotFoundError if it is missing."""
    found: Path | str
    if is_url(path):
        found = str(path).rstrip("/")
        there = _asked(found, lambda system, inner: _run(system, "isdir", inner))
    else:
        found = Path(str(path).removeprefix("file://")).absolute()
        there = found.is_dir()
    if not there:
        raise FileNotFoundError(f"{path} is not a directory")
    return found


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest distinct ends of the paths, mostly file names; ValueError for repeated paths."""
    parts = [PurePath(path).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path in paths if paths.count(path) > 1)
    raise ValueError(f"{twice}: expected every file once; got it twice")


def size_of(path: str) -> int:
    """The size of a file in bytes."""
    return _asked(path, _size) if is_url(path) else os.path.getsize(path)


def read_range(path: str, start: int, stop: int) -> bytes:
    """The bytes ``start:stop`` of a file; nothing else is fetched.

    Raises:
        StorageError: A bucket does not answer.
        OSError: The file is missing, cannot be read, or ends before ``stop``.
    """
    if start == stop:
        return b""
    if is_url(path):
        return _asked(path, lambda system, inner: _fetch(system, inner, start, stop))
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    if len(data) != stop - start:
        raise OSError(f"{path}: expected {stop} bytes; it ends at {start + len(data)}")
    return data


def sample(path: str, *, blocks: int = 8, block_bytes: int = 2**16) -> bytes:
    """The size of a file and blocks spread evenly over it, the last one at its end."""
    size = size_of(path)
    last = max(0, size - block_bytes)
    starts = sorted({last * i // (blocks - 1) for i in range(blocks)})
    found = [read_range(path, start, min(start + block_bytes, size)) for start in starts]
    return b"".join((str(size).encode(), *found))


def read_start(directory: str, name: str, limit: int) -> bytes:
    """At most the first ``limit`` bytes of a file below a directory in a bucket.

    Raises FileNotFoundError, IsADirectoryError, or StorageError if the bucket does not answer.
    """
    # The name is not parsed as part of a URL: fsspec's may lead anywhere, as in "a::file://b".
    system, root = open_system(directory)
    path, url = f"{root}/{name}", f"{directory}/{name}"
    stop = min(limit, _retried(url, lambda: _size(system, path)))
    return _retried(url, lambda: _fetch(system, path, 0, stop)) if stop else b""


def open_file(path: str) -> BinaryIO:
    """Opens a file to read it from beginning to end, with few requests."""
    if is_url(path):
        return io.BufferedReader(_RemoteFile(path), _BUFFER_BYTES)
    return open(path, "rb")


def open_ranges(url: str) -> io.RawIOBase:
    """Opens a file in a bucket to read it at any place; no more is fetched than is read."""
    return _RemoteFile(url)


@contextmanager
def new_directory(path: str) -> Iterator[Path]:
    """Where to write a new directory: the path itself, or a place from which it is copied to a URL.

    ``config.json`` is copied last: until it is there, the URL is no model.

    Raises:
        FileExistsError: There are files at the URL.
        StorageError: The bucket does not take a file.
    """
    if not is_url(path):
        yield Path(path)
        return
    system, place = open_system(path.rstrip("/"))
    if _retried(path, lambda: _run(system, "find", place, maxdepth=1)):
        raise FileExistsError(f"{path}: expected a new or empty directory")
    with TemporaryDirectory() as temporary:
        directory = Path(temporary) / "new"
        yield directory
        for file in sorted(directory.iterdir(), key=lambda file: file.name == "config.json"):
            try:
                system.put_file(str(file), f"{place}/{file.name}")
            # Each bucket's client has its own errors.
            except Exception as error:
                raise StorageError(f"{path}/{file.name}: cannot be written: {error}") from error


class RemoteFolder:
    """The files below a folder in a bucket, to read and to write; names are relative to the folder.

    Reading is tried again like everywhere here. Writing is not, beyond what the bucket's client
    does, and raises StorageError if the bucket refuses or does not answer in time.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        # A list of files that is remembered would hide what another machine wrote.
        self._system, self._root = open_system(self.url, use_listings_cache=False)

    def sizes(self, below: str = "") -> dict[str, int]:
        """The bytes of all files by name, or of those below one of its folders."""
        place = f"{self._root}/{below}".rstrip("/")
        found = self._read(below, "find", place, detail=True)
        return {
            path.removeprefix(f"{self._root}/"): info["size"]
            for path, info in found.items()
            if info["type"] == "file"
        }

    def read(self, name: str) -> bytes:
        """The content of a small file; raises FileNotFoundError if it is missing."""
        content: bytes = self._read(name, "cat_file", f"{self._root}/{name}")
        return content

    def fetch(self, name: str, size: int, target: Path) -> None:
        """Copies a file of this size to the disk.

        Raises:
            StorageError: It has another size, or its name leads out of the folder, and so would
                the place on the disk that is made from it.
        """
        if not set(name.split("/")).isdisjoint({"", ".", ".."}):
            raise StorageError(
                f"{self.url}: expected names of files below it; got {name!r}, which leads elsewhere"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        place = f"{self._root}/{name}"
        self._read(name, "get_file", place, str(target), seconds=_seconds_for(size))
        if (got := target.stat().st_size) != size:
            raise StorageError(f"{self.url}/{name}: expected {size} bytes; got {got}")

    def put(self, source: Path, name: str) -> None:
        """Copies a file from the disk."""
        seconds = _seconds_for(source.stat().st_size)
        self._write(name, "put_file", str(source), f"{self._root}/{name}", seconds=seconds)

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file."""
        self._write(name, "pipe_file", f"{self._root}/{name}", content)

    def delete(self, names: Sequence[str]) -> None:
        """Deletes these files."""
        if names:
            self._write(names[0], "rm", [f"{self._root}/{name}" for name in names])

    def _read(self, name: str, *arguments: Any, **options: Any) -> Any:
        return _retried(f"{self.url}/{name}", lambda: _run(self._system, *arguments, **options))

    def _write(self, name: str, *arguments: Any, **options: Any) -> None:
        try:
            _run(self._system, *arguments, **options)
        # Each bucket's client has its own errors.
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise StorageError(f"{self.url}/{name}: cannot be written: {cause}") from error


class _RemoteFile(io.RawIOBase):
    """A file in a bucket. Every read is a separate request, so that it can be retried."""

    def __init__(self, url: str):
        self._url, self._size, self._place = url, size_of(url), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = (0, self._place, self._size)[whence] + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        start, stop = self._place, min(self._place + len(buffer), self._size)
        data = read_range(self._url, start, stop) if start < stop else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _find_local(path: str) -> list[str]:
    path = path.removeprefix("file://")
    matches = [path] if os.path.isfile(path) else sorted(glob.glob(path, recursive=True))
    return [os.path.abspath(match) for match in matches]


def _find_remote(url: str) -> list[str]:
    system, inner = open_system(url)
    if _retried(url, lambda: _run(system, "isfile", inner)):
        return [str(system.unstrip_protocol(inner))]
    matches = _retried(url, lambda: _run(system, "glob", inner, detail=True))
    files = sorted(path for path, info in matches.items() if info["type"] == "file")
    return [str(system.unstrip_protocol(path)) for path in files]


def open_system(url: str, **options: Any) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL, and the path in it."""
    try:
        return fsspec.url_to_fs(url, **options)
    except ImportError as error:
        protocol = url.partition("://")[0]
        package = known_implementations[protocol]["class"].partition(".")[0]
        extra = next((name for name, needs in _EXTRAS.items() if needs == package), None)
        install = f"pip install 'perl_jax[{extra}]'" if extra else f"pip install {package}"
        raise ImportError(f"{url}: {protocol}:// needs {package}: {install}") from error
    except ValueError as error:
        raise ValueError(f"{url}: expected a path, gs://, s3:// or the like: {error}") from error


def _size(system: fsspec.AbstractFileSystem, path: str) -> int:
    info = _run(system, "info", path)
    if info["type"] != "file":
        raise IsADirectoryError(f"{path} is not a file")
    return info["size"]


def _fetch(system: fsspec.AbstractFileSystem, path: str, start: int, stop: int) -> bytes:
    data = _run(system, "cat_file", path, start=start, end=stop)
    if len(data) != stop - start:
        raise OSError(f"expected {stop - start} bytes from {start} on; got {len(data)}")
    return data


def _asked(url: str, operation: Callable[[fsspec.AbstractFileSystem, str], T]) -> T:
    """What an operation on the file of a URL returns, tried again like `_retried`."""
    system, inner = open_system(url)
    return _retried(url, lambda: operation(system, inner))


def _run(
    system: fsspec.AbstractFileSystem,
    name: str,
    *arguments: Any,
    seconds: float | None = None,
    **options: Any,
) -> Any:
    """Calls a method of a file system; TimeoutError if a bucket does not answer in time."""
    patience = _TRY_SECONDS if seconds is None else seconds
    if not system.async_impl:
        return getattr(system, name)(*arguments, **options)
    coroutine = getattr(system, f"_{name}")(*arguments, **options)
    future = asyncio.run_coroutine_threadsafe(coroutine, system.loop)
    began = time.monotonic()
    while True:
        try:
            return future.result(_POLL_SECONDS)
        except TimeoutError:
            if future.done():
                raise
            if _ending.is_set() or time.monotonic() - began > patience:
                future.cancel()
                raise TimeoutError(f"no answer within {patience:g} s") from None


def _seconds_for(size: int) -> float:
    """How long a file may take to be copied: no bucket in use is slower than 1 MiB/s."""
    return _TRY_SECONDS + size / 2**20


def _retried(url: str, operation: Callable[[], T]) -> T:
    """Runs an operation, again after failures that may pass; StorageError if all tries fail."""
    began = time.monotonic()
    with _told_of_the_end():
        for tries, delay in enumerate((*_DELAYS, None), 1):
            try:
                return operation()
            except (FileNotFoundError, PermissionError) as error:
                # Clients of buckets name an address of their own.
                raise type(error)(f"{url}: {error}") from error
            except _LASTING:
                raise
            # Each bucket's client has its own errors, and many are not OSErrors.
            except Exception as error:
                cause = f"{type(error).__name__}: {error}"
                count = next(_failures)
                late = time.monotonic() - began > _PATIENCE_SECONDS
                if delay is None or late or _ending.is_set():
                    raise StorageError(
                        f"{url}: cannot be read, at {tries} tries: {cause}"
                    ) from error
                _log.warning(
                    "%s: a read failed (the %d. failure of this process), next try in %g s: %s",
                    url, count, delay, cause,
                )  # fmt: skip
                _ending.wait(delay)
    raise AssertionError


@contextmanager
def _told_of_the_end() -> Iterator[None]:
    """Threads that read, such as those of pyarrow, are waited for at the end of the process."""
    _watch_the_end()
    me = threading.get_ident()
    _under_way.add(me)
    try:
        yield
    finally:
        _under_way.discard(me)


@functools.cache
def _watch_the_end() -> None:
    """Lets no thread of C++ be in Python when the interpreter ends.

    It would be unwound on its way back, and ``terminate called without an active exception`` would
    end the process instead of its own status.
    """

    def end() -> None:
        _ending.set()
        deadline = time.monotonic() + 10 * _POLL_SECONDS
        while _under_way and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 50)

    atexit.register(end)
