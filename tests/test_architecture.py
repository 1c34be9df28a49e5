"""docs/architecture.md says what the tree, the ranks and the configuration are."""

import dataclasses
import re
import typing
from pathlib import Path

from perl_jax.config import TrainConfig, WarmstartConfig
from tests.test_import_ranks import PACKAGE, RANKS

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text()


def rows(heading):
    """The cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_room_stands_in_the_tree_with_its_rank():
    told = {
        name.removesuffix("/").removesuffix(".py").replace("/", "."): int(rank)
        for rank, rooms, _ in rows("The tree")
        for name in re.findall(r"`(.+?)`", rooms)
    }
    assert told == RANKS


def test_every_section_of_a_configuration_stands_with_its_class_and_file():
    told = {
        (section.strip("`() "), kind.strip("`"), file.strip("`"))
        for sections, kind, file in rows("Sections of a configuration")
        for section in sections.split(", ")
    }
    found = {("train", *home(TrainConfig)), ("warmstart", *home(WarmstartConfig))}
    found |= set(sections_of(TrainConfig)) | set(sections_of(WarmstartConfig))
    # A source's own fields are in docs/data.md.
    found = {row for row in found if not re.match(r"data\.(train|held_out)\.", row[0])}
    assert told == found


def home(kind):
    return kind.__name__, kind.__module__.removeprefix("perl_jax.").replace(".", "/") + ".py"


def sections_of(kind, prefix=""):
    for name, hint in typing.get_type_hints(kind).items():
        for one in {hint, *typing.get_args(hint)}:
            if dataclasses.is_dataclass(one):
                yield (prefix + name, *home(one))
                yield from sections_of(one, f"{prefix}{name}.")


def test_every_file_that_the_page_names_exists():
    root = PACKAGE.parent
    names = set(re.findall(r"`([\w/]+\.(?:py|md))`", PAGE)) - {"benchmarks/NAME.py"}
    # A name alone stands for a file of the room that the sentence is about.
    missing = [
        name
        for name in names
        if not (root / name).exists()
        and not (PACKAGE / name).exists()
        and not ("/" not in name and list(PACKAGE.rglob(name)))
    ]
    assert not missing
