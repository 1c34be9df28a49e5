"""What a policy's rollouts earned, row by row, in a file that an interruption does not spoil."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from perl_jax.data.pipeline.rows import Skipped

Result = Skipped | Sequence[float | None]
"""The grade of each rollout of a row, None where there is none; or why it cannot be asked."""


class Accuracies(dict[tuple[str, str], Result]):
    """The results of rows by source and id, which a file keeps, one JSON line a row.

    A last line that was not written to its end is taken for not written.

    Args:
        path: The file; it is made where there is none.

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
        """Takes the results of further rows, and writes them down."""
        with self._path.open("a") as file:
            for (source, id), result in results.items():
                line: dict[str, object] = {"source": source, "id": id}
                if isinstance(result, Skipped):
                    line["bad"] = [result.reason, result.row, result.message]
                else:
                    line["scores"] = list(result)
                file.write(json.dumps(line) + "\n")
        self.update(results)

    def _read(self, line: bytes, where: str) -> None:
        try:
            row = json.loads(line)
            result = Skipped(*row["bad"]) if "bad" in row else row["scores"]
            self[row["source"], row["id"]] = result
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{where}: expected the accuracies of a row; {error}") from error
