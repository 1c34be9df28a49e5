"""Keeps a copy of a work directory in a bucket, or brings it back to a new host.

    python launch/keep.py save DIR gs://bucket/run
    python launch/keep.py restore DIR gs://bucket/run

Checkpoints and hidden files are left out: checkpoints have a directory of their own there. Only
files of another size are copied, so it may be called often. Any store that fsspec knows will do.
"""

import sys
from pathlib import Path

import fsspec

_LEFT_OUT = ("checkpoints", "fresh_model")


def save(directory: Path, url: str) -> int:
    """Copies what changed to the bucket; gives the number of files."""
    store, place = fsspec.core.url_to_fs(url)
    there = _sizes(store, place)
    count = 0
    for file in sorted(directory.rglob("*")):
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
        target = directory / name
        if not name.startswith("export") and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            store.get_file(f"{place}/{name}", str(partial))
            partial.replace(target)
            count += 1
    return count


def _sizes(store: fsspec.AbstractFileSystem, place: str) -> dict[str, int]:
    store.invalidate_cache()
    if not store.exists(place):
        return {}
    found = store.find(place, detail=True)
    return {path.removeprefix(place).lstrip("/"): entry["size"] for path, entry in found.items()}


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("save", "restore"):
        sys.exit(f"usage: keep.py save|restore DIR URL; got {' '.join(sys.argv[1:])!r}")
    _action = save if sys.argv[1] == "save" else restore
    _action(Path(sys.argv[2]), sys.argv[3].rstrip("/"))
