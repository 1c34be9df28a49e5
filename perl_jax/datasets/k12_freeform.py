"""K12-freeform: school mathematics with free answers, in EasyR1's columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet, by_split
from perl_jax.datasets.fields import read_examples
from perl_jax.datasets.files import Columns
from perl_jax.types import Example

SOURCE = "k12-freeform"
_COLUMNS = Columns(text=("problem",), other=("answer", "images"))


def _read_split(split: str, root: Path) -> Iterator[Example | BadRow]:
    def fields(row: Row, name: str, number: int) -> dict[str, Any]:
        return {
            "id": f"{split}/{number}", "question": row["problem"], "images": row["images"],
            "answer": row["answer"],
        }  # fmt: skip

    return read_examples(root, f"data/{split}-*.parquet", fields, source=SOURCE, columns=_COLUMNS)


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="k12_freeform",
        source=SOURCE,
        title="K12-freeform",
        homepage="https://huggingface.co/datasets/xyliu6/k12-freeform",
        licence="not stated by its authors",
        description=(
            "School mathematics with a figure and a free answer, a number or a formula: 6,457 rows "
            "to train on, 2,100 of them as mini_train, and 808 test rows. The files have no ids; "
            "rows are numbered."
        ),
        splits=by_split(_read_split, "train", "mini_train", "test"),
        files=("data/*.parquet",),
    ),
)
