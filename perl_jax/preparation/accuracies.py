"""A file with the grades of a policy's rollouts that survives interruptions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.files import parse_json

Result = Skipped | Sequence[float | None]
"""The grade of each rollout of a row (None: not graded), or why the row was skipped."""


class Accuracies(dict[tuple[str, str], Result]):
    """Results by (source, id), kept in a file with one JSON line per row.

    Creates the file if it is missing. An incomplete last line is removed.

    Raises:
        ValueError: The file holds something else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            whole = 0
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    whole += len(line)
                    self._read(line, f"{path}:{number}")
            file.truncate(whole)

    def add(self, results: Mapping[tuple[str, str], Result]) -> None:
        """Adds results and writes them to the file."""
        with self._path.open("a") as file:
            for (source, id), result in results.items():
                line: dict[str, object] = {"source": source, "id": id}
                if isinstance(result, Skipped):
                    line["bad"] = [result.reason, result.row, result.message, result.row_id]
                else:
                    line["scores"] = list(result)
                file.write(json.dumps(line) + "\n")
        self.update(results)

    def _read(self, line: bytes, where: str) -> None:
        try:
            row = parse_json(line)
            result = Skipped(*row["bad"]) if "bad" in row else row["scores"]
            self[row["source"], row["id"]] = result
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{where}: expected the accuracies of a row; {error}") from error
