"""What the pages of several commands share: their templates, and where they are written."""

import argparse
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"


def environment(*folders: Path) -> Environment:
    """Reads templates from these folders, and those that all pages share.

    Everything that a template shows is escaped, as the texts come from the data.
    """
    return Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def page(text: str) -> Path:
    """The path of a page to write; no other file is ever written over."""
    if not text.endswith((".html", ".htm")):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .html; got {text}")
    return Path(text)
