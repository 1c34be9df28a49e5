"""Parquet files for tests: real scans of digits as PNG bytes, in the layouts of verl and EasyR1."""

import functools

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

from tests.processing.image_files import encode

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})

VERL_TYPES = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "images": pa.list_(IMAGE),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {"split": pa.string(), "index": pa.int64(), "answer": pa.string(), "level": pa.int64()}
        ),
        "change_needed": pa.bool_(),
        "question_type": pa.string(),
    }
)


@functools.cache
def scans():
    return load_digits().images


def digit_png(number, side=28):
    """The scan of that number of scikit-learn's handwritten digits, encoded."""
    return encode(Image.fromarray((scans()[number] * 15).astype("uint8")).resize((side, side)))


def verl_row(index=0, images=None, question="<image><image> Which digit is larger?", **changed):
    """A row of two digits; None for an image list of its own."""
    if images is None:
        images = [{"bytes": digit_png(2 * index + k), "path": None} for k in range(2)]
    row = {
        "data_source": "digits",
        "prompt": [{"role": "user", "content": question}],
        "images": images,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "A"},
        "extra_info": {"split": "train", "index": index, "answer": "A", "level": 3},
        "change_needed": True,
        "question_type": None,
    }
    return {**row, **changed}


def write_verl(path, rows, schema=VERL_TYPES, **options):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, **options)
    return path


def easyr1_row(index=0, **changed):
    row = {
        "problem": "<image> Which digit is it?",
        "answer": str(int(load_digits().target[index])),
        "images": [digit_png(index)],
    }
    return {**row, **changed}


def write_easyr1(path, rows, **options):
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path
