"""Where a model came from, so that it can be written back in the same form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """The directory a model was loaded from.

    No field takes part in comparison: two models that differ only in their origin run the same
    compiled programs.

    Attributes:
        directory: Holds the tokenizer and processor files.
        config: The content of its config.json.
        names: Published name -> name in the file, for every tensor.
        dtypes: Published name -> dtype in the file, as safetensors spells it.
    """

    directory: Path = field(compare=False)
    config: dict[str, Any] = field(compare=False)
    names: dict[str, str] = field(compare=False)
    dtypes: dict[str, str] = field(compare=False)
