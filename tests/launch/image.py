"""Reads launch/Dockerfile, so that its steps can be taken without docker."""

import fnmatch
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.launch.conftest import ROOT

_FILE = ROOT / "launch" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, and the rest with its lines joined."""

    name: str
    rest: str


def instructions() -> list[Instruction]:
    """Those of the Dockerfile, in order."""
    lines = [line for line in _FILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def copy(rest: str, image: Path) -> None:
    """What COPY does: files and folders of the repository, without those that are left out."""
    *sources, target = shlex.split(rest)
    for source in sources:
        # COPY copies what a folder holds, and a file under its name.
        place = image / target / ("" if (ROOT / source).is_dir() else source)
        for file in [ROOT / source, *(ROOT / source).rglob("*")]:
            if file.is_file() and reaches_docker(file.relative_to(ROOT).as_posix()):
                copied = place / file.relative_to(ROOT / source)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copied)


def reaches_docker(path: str) -> bool:
    """Whether .dockerignore leaves a file in; the last line that matches it decides."""
    kept = True
    for line in (ROOT / "launch" / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = re.sub(r"^\*\*/", "", line.removeprefix("!"))
        parts = path.split("/") if line.startswith("**/") else path.split("/")[:1]
        if any(fnmatch.fnmatchcase(part, pattern) for part in parts):
            kept = line.startswith("!")
    return kept
