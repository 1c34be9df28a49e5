"""The Python of a page of the documents, run as a reader would."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def blocks(page: str, language: str = "python") -> list[str]:
    """The fenced blocks of one language on a page, named from the root of the repository."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(page: str) -> dict[str, Any]:
    """Runs the Python blocks of a page as one program, and returns its names."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        exec(compile(block, str(ROOT / page), "exec"), names)
    return names
