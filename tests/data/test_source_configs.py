"""Configurations of sources: what they open, and what they refuse."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data.config import SourceConfig, open_source
from perl_jax.settings import plain, read_config
from perl_jax.types import prompt_text
from tests.data.sources.row_files import write_directory, write_jsonl

ROWS = [{"q": f"{n}?", "a": n, "image": "a.png", "set": "theirs"} for n in range(3)]
COLUMNS = {"question": "q", "answer": "a", "images": ["image"], "answer_is": "index"}


def read(**values):
    return read_config(SourceConfig, values, "config.data.train")


@pytest.fixture
def files(tmp_path):
    """The rows in every kind of file, as the configurations that read them."""
    (tmp_path / "a.png").write_bytes(b"png")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    write_jsonl(tmp_path / "x.jsonl", ROWS)
    write_directory(tmp_path / "x" / "train", pa.Table.from_pylist(ROWS))
    (tmp_path / "x" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    return {
        "parquet": {"paths": [str(tmp_path / "x.parquet")]},
        "jsonl": {"paths": [f"file://{tmp_path}/*.jsonl"]},
        "dataset_directory": {"path": str(tmp_path / "x"), "split": "train"},
    }


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "dataset_directory"])
def test_every_kind_of_file_is_opened_as_configured(tmp_path, files, kind):
    options = {"image_root": str(tmp_path), "prompt_suffix": " Think.", "source": "mine"}
    config = read(**{kind: {**files[kind], "columns": COLUMNS, **options}})
    example = open_source(config)[2]
    assert (prompt_text(example), example.answer) == ("2? Think.", "C")
    assert (example.images, example.source) == ((b"png",), "mine")
    columns = {**COLUMNS, "source": "set"}
    config = read(**{kind: {**files[kind], "columns": columns, "image_root": str(tmp_path)}})
    assert open_source(config)[0].source == "theirs"
    assert read_config(SourceConfig, plain(config)) == config


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "dataset_directory"])
def test_an_unknown_column_is_an_error_with_a_suggestion(files, kind):
    columns = {**COLUMNS, "images": ["images"]}
    message = r"expected some of q, a, image, set; got 'images' \(did you mean 'image'\?\)"
    with pytest.raises(ValueError, match=message):
        open_source(read(**{kind: {**files[kind], "columns": columns}}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"columns": {"question": "q"}}, r"jsonl\.columns: expected answer; got only question"),
        ({"columns": {**COLUMNS, "image": []}}, r"columns\.image: .*did you mean 'images'"),
        ({"columns": {**COLUMNS, "answer_is": "letter"}}, "answer_is: expected one of text, index"),
        ({"paths": []}, r"jsonl\.paths: expected at least one file"),
        ({"split": "train"}, r"jsonl\.split: unknown key"),
    ],
)
def test_a_wrong_configuration_is_an_error_that_names_the_field(values, message):
    with pytest.raises(ValueError, match=message):
        read(jsonl={"paths": ["a.jsonl"], **values})


def test_exactly_one_source_is_configured():
    with pytest.raises(ValueError, match=r"expected exactly one of .*jsonl.*; got \['parquet'"):
        read(parquet={"paths": ["a"]}, jsonl={"paths": ["a"]})
