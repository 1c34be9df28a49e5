"""Small copies of Mantis-Instruct's published files: its columns, types, folders and zip files."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.sources.parquet_files import IMAGE
from tests.datasets import published_files
from tests.datasets.published_files import image

# As `datasets` writes them: "bytes" is null where the images are in zip files.
TYPES = pa.schema(
    {
        "id": pa.string(),
        "images": pa.list_(IMAGE),
        "conversation": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "source": pa.string(),
    }
)

NLVR2 = """Answer the following multiple-choice question:
Given these 2 images, <image> and <image>. Here is a statement describing them: {} \
Is it true or false?
Options:
(A) True
(B) False"""
DREAMSIM = """Answer the following multiple-choice question:
Here are there images: <image> <image> <image>. If image {} is the reference image, which image \
of the other two is more similar to the reference image?
Options:
(A) Image {}
(B) Image {}"""
DREAMSIM_SHORT = """Answer the following question:
If image {} is the reference image, which image of the other two is more similar to the reference \
image? <image> <image> <image>."""


def paths(*names):
    """An image column without bytes."""
    return [image(None, name) for name in names]


def talk(*texts):
    """A conversation: questions and answers in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def raw_talk(*texts):
    """The same in the authors' raw files."""
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def row(id, images, conversation, source="nlvr2"):
    return {"id": id, "images": images, "conversation": conversation, "source": source}


def write_parquet(directory, subset, rows, split="train", part="00000-of-00001"):
    path = directory / subset / f"{split}-{part}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=TYPES), path, row_group_size=3)
    return path


def write_json(directory, subset, rows, split="train"):
    path = directory / subset / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=4))
    return path


def write_zip(directory, subset, members, name="train_images.zip", listed=False):
    """An archive of images beside the rows of a subset."""
    path = directory / subset / name
    path.parent.mkdir(parents=True, exist_ok=True)
    published_files.write_zip(path, members)
    if listed:
        with open(path.with_name("train_images_zips.txt"), "a") as file:
            file.write(f"{name}\n")
    return path


def write_nlvr2(directory, count=6, val=2):
    """Both splits of nlvr2: pairs of digits, half of the statements true."""
    for split, rows in (("train", count), ("val", val)):
        names = [(f"{split}-{n}-img0.png", f"{split}-{n}-img1.png") for n in range(rows)]
        write_parquet(
            directory,
            "nlvr2",
            [
                row(
                    f"{split}-{n}-0", paths(*pair), talk(NLVR2.format("One is round."), "AB"[n % 2])
                )
                for n, pair in enumerate(names)
            ],
            split,
        )
        members = {name: 2 * n + k for n, pair in enumerate(names) for k, name in enumerate(pair)}
        write_zip(directory, "nlvr2", members, f"{split}_images.zip")
    return directory
