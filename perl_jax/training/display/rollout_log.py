"""The log of what was asked and said, and the answers of evaluations."""

import gzip
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.files import ResumableLog, whole_file
from perl_jax.settings import Checked, CountOrZero

ROLLOUTS = "rollouts"
IMAGES = "images"
EVALUATIONS = "evaluations"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RolloutLogConfig(Checked):
    """The log of what was asked and said, and the copies of its pictures.

    Attributes:
        format: ``jsonl``: one file, ``rollouts.jsonl``. ``jsonl.gz`` or ``parquet``: compressed, a
            file for each step in ``rollouts/``, which a resumed run can take back.
        groups: The most groups of a step that are logged, those drawn first; None: all.
        images: Whether a small copy of each of their pictures is kept in ``images/``.
    """

    format: Literal["jsonl", "jsonl.gz", "parquet"] = "jsonl"
    groups: CountOrZero | None = None
    images: bool = True


class StepFiles:
    """A directory with a file for each of some steps, ``step_12.jsonl``.

    Args:
        directory: Made with its first file.
        suffix: The last part of the names.
    """

    def __init__(self, directory: Path, suffix: str) -> None:
        self._directory, self._suffix = directory, suffix

    def path(self, step: int) -> Path:
        """The file of a step, whether it is there or not."""
        return self._directory / f"step_{step}{self._suffix}"

    def write(self, step: int, content: bytes) -> None:
        """Writes the file of a step whole."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path(step)) as file:
            file.write(content)

    def take_back(self, last: int) -> None:
        """Removes the files of the steps after ``last``."""
        for file in self._directory.glob(f"step_*{self._suffix}"):
            number = re.fullmatch(r"step_(\d+)" + re.escape(self._suffix), file.name)
            if number and int(number[1]) > last:
                file.unlink()


class RolloutLog:
    """Writes the rows of each step in the format that the configuration chooses.

    Args:
        workdir: The run's work directory.
        config: The format, and the number of groups.
    """

    def __init__(self, workdir: Path, config: RolloutLogConfig) -> None:
        self._config = config
        self._lines = ResumableLog(workdir / f"{ROLLOUTS}.jsonl", "step")
        self._files = {
            name: StepFiles(workdir / ROLLOUTS, f".{name}") for name in ("jsonl.gz", "parquet")
        }

    def take_back(self, last: int) -> None:
        """Removes the rows of the steps after ``last``, in every format, as it may have changed."""
        self._lines.take_back(last)
        for files in self._files.values():
            files.take_back(last)

    def add(self, step: int, rows: Sequence[Row]) -> None:
        """Writes the rows of a step, as many as are wanted. They are there when this returns."""
        rows = rows[: self._config.groups]
        if not rows:
            return
        if self._config.format == "jsonl":
            self._lines.extend(step, rows)
            return
        numbered = [{"step": step, **row} for row in rows]
        encode = _ENCODE[self._config.format]
        self._files[self._config.format].write(step, encode(numbered))


def _as_gzip(rows: Sequence[Row]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # Without the time, equal rows make equal files.
    return gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0)


def _as_parquet(rows: Sequence[Row]) -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=_schema(rows[0]))
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


_ENCODE: Mapping[str, Callable[[Sequence[Row]], bytes]] = {
    "jsonl.gz": _as_gzip,
    "parquet": _as_parquet,
}


def _schema(row: Row) -> pa.Schema:
    """The types of the columns; found ones would differ where a column of a step is empty."""
    numbers = _nested(pa.float32())
    kinds: dict[str, pa.DataType] = {
        "step": pa.int64(),
        "group": pa.int64(),
        "images": pa.list_(pa.string()),
        "orders": _nested(pa.int32()),
        "questions": pa.list_(pa.string()),
        "truths": pa.list_(pa.string()),
        "responses": _nested(pa.string()),
        "lengths": _nested(pa.int32()),
        "stopped": _nested(pa.bool_()),
        "accuracy": numbers,
        "rewards": pa.struct([(name, numbers) for name in row["rewards"]]),
        "reward": numbers,
        "advantages": numbers,
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in row])


def _nested(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.list_(kind))
