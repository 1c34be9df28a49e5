"""What a policy's rollouts earned, row by row, in a file that an interruption does not spoil."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from perl_jax.data.pipeline.rows import Skipped

Result = Skipped | Sequence[float | None]


class Accuracies:
    """The grades of the rollouts of rows, by source and id: a context manager.

    A row has one number a rollout, None where it could not be graded; or, where the row cannot be
    asked, why. The file has one JSON line a row. A last line that was not written to its end is
    taken for not written.

    Args:
        path: The file; it is made where there is none.

    Raises:
        ValueError: The file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._results: dict[tuple[str, str], Result] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._file.seek(0)
            whole = 0
            for number, line in enumerate(self._file, 1):
                if line.endswith(b"\n"):
                    whole += len(line)
                    self._read(line, f"{path}:{number}")
            self._file.truncate(whole)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __contains__(self, row: tuple[str, str]) -> bool:
        return row in self._results

    def __getitem__(self, row: tuple[str, str]) -> Result:
        return self._results[row]

    def add(self, results: Mapping[tuple[str, str], Result]) -> None:
        """Takes the results of further rows, and writes them down."""
        for (source, id), result in results.items():
            line: dict[str, object] = {"source": source, "id": id}
            if isinstance(result, Skipped):
                line["bad"] = [result.reason, result.row, result.message]
            else:
                line["scores"] = list(result)
            self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self._results.update(results)

    def _read(self, line: bytes, where: str) -> None:
        try:
            row = json.loads(line)
            result = Skipped(*row["bad"]) if "bad" in row else row["scores"]
            self._results[row["source"], row["id"]] = result
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{where}: expected the accuracies of a row; {error}") from error
