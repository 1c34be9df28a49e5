"""Writes docs/configuration.md from the code: ``python docs/make_configuration.py``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.fields import REQUIRED, Field, default_of, fields_of, summary, type_text
from perl_jax.preparation.config import PrepareConfig

PAGE = Path(__file__).parent / "configuration.md"
INTRODUCTION = """\
# Configuration

<!-- Written by docs/make_configuration.py from the code. Change the docstrings, not this page. -->

A configuration is a Python file with a `get_config()` that returns a `ConfigDict` or a dictionary.
`--config=FILE` names it; `--config=demo` is the shipped `configs/demo.py`, unless the working
directory has a file of that name. A file lists the fields that differ from their defaults. Every
field of every section, listed or not, can be set on the command line:

| flag | sets |
|---|---|
| `--config.rollout.groups=64` | a number; `1e-5`, `-1` and `1e6` are numbers too |
| `--config.export=false` | `true` or `false`; `--config.export` and `--noconfig.export` are short |
| `--config.model.path=Qwen/Qwen2.5-VL-3B-Instruct` | a text; `"'None'"` is the text None |
| `--config.learner.frozen="('vision.*',)"` | a list, as Python writes it |
| `--config.permutation.rules.my-set="{'movable': 'all'}"` | an entry of a mapping |
| `--config.permutation.rules.my-set.movable=all` | one field of an entry |
| `--config.permutation.rules['my.set'].movable=all` | an entry whose name has dots |
| `--config.data.train.mixture[0].weight=2` | a field of an item of a list, from 0 |
| `--config.mesh.fsdp=8` | a field of a section that was `None`, which opens it |
| `--config.mesh=None` | closes a section |

`--print_config` prints the whole configuration, as a file, and ends. A wrong field or value is an
error of one line that says what was expected.
"""
COMMANDS = {"train": TrainConfig, "warmstart": WarmstartConfig, "prepare": PrepareConfig}


def page() -> str:
    """The text of docs/configuration.md."""
    parts, told = [INTRODUCTION], {field.path for field in fields_of(TrainConfig)}
    places = _places()
    for command, kind in COMMANDS.items():
        parts.append(f"## perl-jax {command}\n\n{_words(summary(kind))}\n")
        rows = [one for one in fields_of(kind) if "." not in one.path]
        if kind is WarmstartConfig:
            left_out = {"objective", "filtering", "reward"}
            names = ", ".join(f"`{name}`" for name in sorted(left_out))
            parts.append(f"It has the fields of `perl-jax train` without {names}, and:\n")
            rows = [one for one in rows if one.path not in told]
        parts.append(_table(rows))
        for (owner, *_), (first, paths, fields) in places.items():
            if first == command:
                words = _words(summary(owner))
                if paths[1:]:
                    words += f"\n\nAlso {', '.join(f'`{path}`' for path in paths[1:])}."
                parts.append(f"### `{paths[0]}`\n\n{words}\n\n{_table(fields)}")
    return "\n".join(parts)


def _places() -> dict[Any, tuple[str, list[str], list[Field]]]:
    """Sections with the command that has them first, their paths and the fields at the first."""
    found: dict[Any, tuple[str, list[str], list[Field]]] = {}
    for command, kind in COMMANDS.items():
        for path, fields in _sections(kind):
            key = (fields[0].owner, tuple(repr(one.default) for one in fields))
            _, paths, _ = found.setdefault(key, (command, [], fields))
            if path not in paths:
                paths.append(path)
    return found


def _sections(kind: type) -> Iterator[tuple[str, list[Field]]]:
    """The sections of a configuration with their own fields."""
    by_path: dict[str, list[Field]] = {}
    for field in fields_of(kind):
        by_path.setdefault(field.path.rpartition(".")[0], []).append(field)
    by_path.pop("")
    yield from by_path.items()


def _table(fields: list[Field]) -> str:
    lines = ["| field | value | default | meaning |", "|---|---|---|---|"]
    for one in fields:
        cells = (f"`{one.path}`", type_text(one.annotation), _default(one), _words(one.meaning))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(field: Field) -> str:
    if field.default is REQUIRED:
        return "required"
    if field.section is not None:
        return f"`{field.default}`" if field.default is None else "its fields"
    own, text = default_of(field.owner, field.name), f"`{field.default!r}`"
    return text if own == field.default else f"{text}; `{own!r}` in a file that lists the section"


def _words(text: str) -> str:
    """A docstring as Markdown."""
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
