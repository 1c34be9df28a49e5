"""Keeps a copy of a work directory in a bucket, or brings it back to a new host.

    python launch/keep.py save DIR gs://bucket/run
    python launch/keep.py follow DIR gs://bucket/run SECONDS
    python launch/keep.py restore DIR gs://bucket/run

Checkpoints and hidden files are left out: checkpoints have a directory of their own there. Only
files of another size are copied, so it may be called often. Any store that fsspec knows will do.

``follow`` saves whenever a step was logged, at most every so many seconds, so that a new host goes
on with the logs of all steps that have checkpoints; and once more at SIGTERM, its end.
"""

import signal
import sys
import time
from pathlib import Path

import fsspec

_LEFT_OUT = ("checkpoints", "fresh_model")
_METRICS = "metrics.jsonl"


def save(directory: Path, url: str) -> int:
    """Copies what changed to the bucket; gives the number of files."""
    store, place = fsspec.core.url_to_fs(url)
    there = _sizes(store, place)
    count = 0
    # Metrics come last: what is there of a step that has them is all there.
    for file in sorted(directory.rglob("*"), key=lambda path: (path.name == _METRICS, path)):
        name = file.relative_to(directory)
        if not file.is_file() or name.parts[0] in _LEFT_OUT:
            continue
        if any(part.startswith(".") for part in name.parts):
            continue
        if there.get(name.as_posix()) != file.stat().st_size:
            target = f"{place}/{name.as_posix()}"
            store.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            store.put_file(str(file), target)
            count += 1
    return count


def restore(directory: Path, url: str) -> int:
    """Brings back what the bucket has and the directory has not; gives the number of files.

    Exported models stay there: no run reads them.
    """
    store, place = fsspec.core.url_to_fs(url)
    count = 0
    for name in sorted(_sizes(store, place)):
        # Whoever may write to the bucket may not write elsewhere on this host.
        if not set(name.split("/")).isdisjoint({"", ".", ".."}):
            raise ValueError(f"{url}: expected names of files below it; got {name!r}")
        target = directory / name
        if not name.startswith("export") and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            store.get_file(f"{place}/{name}", str(partial))
            partial.replace(target)
            count += 1
    return count


def follow(directory: Path, url: str, every: float) -> None:
    """Saves after steps until SIGTERM comes. Failures are told and do not end it."""
    ends = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    metrics = directory / _METRICS
    saved, due = None, 0.0
    while signal.sigtimedwait(ends, min(every, 1.0)) is None:
        logged = metrics.stat().st_size if metrics.exists() else None
        if logged != saved and time.monotonic() >= due:
            _try_to_save(directory, url)
            saved, due = logged, time.monotonic() + every
    _try_to_save(directory, url)


def _try_to_save(directory: Path, url: str) -> None:
    try:
        save(directory, url)
    except Exception as error:  # whatever a store's client raises
        print(f"could not save {directory} in {url}; going on: {error}", file=sys.stderr)


def _sizes(store: fsspec.AbstractFileSystem, place: str) -> dict[str, int]:
    store.invalidate_cache()
    if not store.exists(place):
        return {}
    found = store.find(place, detail=True)
    return {path.removeprefix(place).lstrip("/"): entry["size"] for path, entry in found.items()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["save", _directory, _url]:
            save(Path(_directory), _url.rstrip("/"))
        case ["restore", _directory, _url]:
            restore(Path(_directory), _url.rstrip("/"))
        case ["follow", _directory, _url, _every]:
            follow(Path(_directory), _url.rstrip("/"), float(_every))
        case _:
            sys.exit(f"usage: keep.py save|restore|follow DIR URL; got {' '.join(sys.argv[1:])!r}")
