"""Small published files, and the schemas of the single-file sets."""

import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.sources.parquet_files import IMAGE, digit_png

TEXT = pa.string()
MMK12 = pa.schema({"id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT, "subject": TEXT})
EASYR1 = pa.schema({"images": pa.list_(IMAGE), "problem": TEXT, "answer": TEXT})
GEOMETRY = pa.schema(
    {
        "id": pa.int64(), "images": pa.list_(IMAGE), "problem": TEXT, "choices": pa.list_(TEXT),
        "ground_truth": TEXT,
    }
)  # fmt: skip
VIRL = pa.schema(
    {
        "answer": TEXT, "PassRate_32BTrained": pa.float64(), "PassRate_7BBase": pa.float64(),
        "question": TEXT, "image": pa.list_(TEXT), "category": TEXT, "source": TEXT, "qid": TEXT,
    }
)  # fmt: skip


def image(data=None, path=None):
    return {"bytes": data, "path": path}


def write_parquet(path, schema, rows):
    """Writes rows, lists of values in the order of the schema's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [dict(zip(schema.names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path, row_group_size=2)
    return path


def write_zip(path, members, compression=zipfile.ZIP_STORED, **changes):
    """Writes bytes, or the image of the digit of that number, by their path in the archive.

    Changes are those of every member's ``ZipInfo``.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            # The time of a member is part of the file, and writestr takes the clock's.
            info = zipfile.ZipInfo(name)
            for field, value in changes.items():
                setattr(info, field, value)
            data = data if isinstance(data, bytes) else digit_png(data)
            archive.writestr(info, data, compression)
    return path


def reasons(rows):
    """What rows came to: the id of an example, or the name and the reason of a bad row."""
    return [row.id if hasattr(row, "id") else (row.row, row.reason) for row in rows]
