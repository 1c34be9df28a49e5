"""The configurations and the rows in docs/data.md are ones that can be read."""

import json
import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from PIL import Image

from perl_jax.data.config import SourceConfig
from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.processing import load_rgb
from perl_jax.settings import read_config
from tests.data.sources.row_files import KINDS, open_rows

DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


ROWS = [json.loads(line) for block in blocks("json") for line in block.splitlines()]


def test_every_configuration_of_the_documentation_is_read():
    examples = blocks("python")
    assert len(examples) == 5
    for example in examples:
        config = ConfigDict({"data": {}})
        exec(compile(example, "docs/data.md", "exec"), {"config": config})
        for name, section in config.data.to_dict().items():
            kind = PromptConfig if name == "prompt" else SourceConfig
            read_config(kind, section, f"config.data.{name}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(len(ROWS)))
def test_every_row_of_the_documentation_is_read_from_every_kind_of_file(tmp_path, kind, number):
    for name in ("a.png", "b.png"):
        Image.new("L", (28, 28)).save(tmp_path / name)
    example = open_rows(kind, tmp_path, [ROWS[number]], image_root=tmp_path)[0]
    check_text(example)
    assert len(example.images) in (1, 2)
    for image in example.images:
        load_rgb(image)
    assert example.answer in ("the first", "a dog", "yes")


def test_the_documentation_has_a_row_of_every_form():
    assert len(ROWS) == 15
