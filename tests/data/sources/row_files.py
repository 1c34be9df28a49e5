"""The same rows as parquet, as JSONL and as a ``datasets`` directory, for tests."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data import DatasetDirectorySource, JsonlSource, ParquetSource

KINDS = ("parquet", "jsonl", "directory")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_stream(path, table, batch_rows=1000):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=batch_rows)
    return path


def write_directory(path, table, *, shards=1, batch_rows=1000):
    """What ``save_to_disk`` writes of a ``Dataset``, as far as it is read."""
    path.mkdir(parents=True, exist_ok=True)
    names = [f"data-{n:05}-of-{shards:05}.arrow" for n in range(shards)]
    rows = -(-table.num_rows // shards)
    for n, name in enumerate(names):
        write_stream(path / name, table.slice(n * rows, rows), batch_rows)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (path / "state.json").write_text(json.dumps(state))
    return path


def open_rows(kind, folder, rows, **options):
    """Writes rows as a file of one kind, and opens it."""
    if kind == "jsonl":
        return JsonlSource(write_jsonl(folder / "train.jsonl", rows), **options)
    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, folder / "train.parquet")
        return ParquetSource(folder / "train.parquet", **options)
    return DatasetDirectorySource(write_directory(folder / "train", table), **options)


def first_name(kind, number=0):
    """What the row of that number is called in the files that `open_rows` writes."""
    if kind == "jsonl":
        return f"train.jsonl:{number + 1}"
    return f"{'train.parquet' if kind == 'parquet' else 'data-00000-of-00001.arrow'}:{number}"
