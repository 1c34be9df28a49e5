"""The origin of a model, so that it can be written back in the same form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """The directory a model was loaded from, and the content of its config.json.

    ``names`` and ``dtypes`` map each tensor's published name to its name and dtype (as safetensors
    spells it) in the files. No field is compared: models that differ only in their origin run the
    same compiled programs.
    """

    directory: Path = field(compare=False)
    config: dict[str, Any] = field(compare=False)
    names: dict[str, str] = field(compare=False)
    dtypes: dict[str, str] = field(compare=False)
