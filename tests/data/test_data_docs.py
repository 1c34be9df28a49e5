"""The configurations in docs/data.md are ones that can be read."""

import re
from pathlib import Path

from ml_collections import ConfigDict

from perl_jax.data.config import SourceConfig
from perl_jax.settings import read_config

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


def test_every_configuration_of_the_documentation_is_read():
    examples = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        config = ConfigDict({"data": {}})
        exec(compile(example, str(DOCS), "exec"), {"config": config})
        for name, source in config.data.to_dict().items():
            read_config(SourceConfig, source, f"config.data.{name}")
