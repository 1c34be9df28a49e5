"""A file that names every row that could not be used."""

import contextlib
import json
from pathlib import Path

from perl_jax.data.pipeline.rows import Skipped


class SkipLog:
    """One line of JSON for every skipped row: its place in the order, name, reason and message.

    The place is how many rows were taken up to it and with it, so a run that goes back to a
    checkpoint takes back the lines after it, and has none twice. Lines are written as rows are
    taken, before their effect; where a run is killed, no line of a row before its last checkpoint
    is missing.

    Args:
        path: The file. Its directory must be there; it is made when something is written to it.
    """

    def __init__(self, path: Path):
        self._path = path
        self._ready = False

    def rewind(self, rows: int) -> None:
        """Keeps the lines of the first so many rows of the order."""
        kept = []
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # cut off when the process died
                    if json.loads(line)["place"] <= rows:
                        kept.append(line + "\n")
            partial = self._path.with_suffix(".partial")
            partial.write_text("".join(kept), encoding="utf-8")
            partial.replace(self._path)
        self._ready = True

    def add(self, place: int, row: Skipped) -> None:
        """Writes a line."""
        if not self._ready:
            self.rewind(place - 1)
        line = {"place": place, "row": row.row, "reason": row.reason, "message": row.message}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
