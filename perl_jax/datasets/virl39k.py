"""ViRL39K: verifiable questions of many subjects, some over several images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet
from perl_jax.datasets.fields import read_examples, read_id
from perl_jax.datasets.files import Columns
from perl_jax.types import Example

SOURCE = "ViRL39K"
_FILE, _FOLDER, _ARCHIVE = "39Krelease.parquet", "images", "images.zip"
_PASS_RATES = ("PassRate", "PassRate_32BTrained", "PassRate_7BBase")
_COLUMNS = Columns(
    text=("answer", "question", "category", "source", "qid"), other=("image",), optional=_PASS_RATES
)


def _read(root: Path) -> Iterator[Example | BadRow]:
    archives = [root / _ARCHIVE] if (root / _ARCHIVE).is_file() else []
    if not archives and not (root / _FOLDER).is_dir():
        raise FileNotFoundError(f"{root}: expected {_ARCHIVE}, or the folder {_FOLDER} that it has")

    def fields(row: Row, name: str, number: int) -> dict[str, Any]:
        return {
            "id": read_id(row["qid"], "train", name), "question": row["question"],
            "images": row["image"], "answer": row["answer"], "metadata": _metadata(row),
        }  # fmt: skip

    return read_examples(root, _FILE, fields, source=SOURCE, columns=_COLUMNS, archives=archives)


def _metadata(row: Row) -> dict[str, str | float | bool]:
    known = {name: row.get(name) for name in ("category", *_PASS_RATES)}
    known["origin"] = row["source"]
    given = {name: value for name, value in known.items() if value is not None}
    return {**given, "mv_math": _is_from_mv_math(row)}


def _is_from_mv_math(row: Row) -> bool:
    """Whether a row names MV-MATH, in any spelling, in its source, category or id.

    The authors list MV-MATH among the origins, but not how rows spell it; the values of ``source``
    show that it names the origin. Rows that name no origin cannot be recognised.
    """
    texts = (row[name] or "" for name in ("source", "category", "qid"))
    return any("mvmath" in "".join(filter(str.isalnum, text.lower())) for text in texts)


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="virl39k",
        source=SOURCE,
        title="ViRL39K",
        homepage="https://huggingface.co/datasets/TIGER-Lab/ViRL39K",
        licence="MIT",
        description=(
            "38,870 questions on mathematics, science, charts, documents and space, most of them "
            "over one image, some over several or none; the answer is a letter, a number or LaTeX. "
            "Metadata: category, origin (the set that a row comes from), the pass rates, and "
            "mv_math, true where the row says that it comes from MV-MATH: leave those out when "
            "MV-MATH is a benchmark."
        ),
        splits={"train": _read},
        files=(_FILE, _ARCHIVE),
    ),
)
