"""Takes a guard out of a file, and runs a scenario on the file with and without it.

A guard is a piece of code that protects against a fault. Its scenario provokes the fault: it passes
with the guard and raises `Fault` without.
"""

import importlib
import shutil
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What a change that only broke the code raises: it proves nothing about the guard.
_BROKEN = (NameError, SyntaxError, AttributeError, ImportError)


class Fault(AssertionError):
    """What a guard protects against has happened."""


@dataclass(frozen=True)
class Guard:
    """A guard, what stands in its place once it is removed, and the scenario that needs it.

    Attributes:
        area: The part of the project that it protects.
        file: Its file, from the root of the repository.
        text: Its text, which the file holds once.
        instead: What the file holds without it.
        scenario: Is given the file as `with_text` makes it, and an empty directory.
    """

    area: str
    file: str
    text: str
    instead: str
    scenario: Callable[[Any, Path], None]

    def __str__(self) -> str:
        return f"{self.file}-{self.scenario.__name__}"


def source_of(guard: Guard) -> str:
    """The text of the guard's file; AssertionError unless it holds the guard exactly once."""
    source = (ROOT / guard.file).read_text(encoding="utf-8")
    assert source.count(guard.text) == 1, (
        f"{guard.file}: expected the guard once; got it {source.count(guard.text)} times:\n"
        f"{guard.text}"
    )
    assert guard.text != guard.instead, f"{guard}: the removal takes nothing away"
    return source


def shown_to_be_needed(guard: Guard, directory: Path) -> None:
    """Runs the scenario with the guard, then without it; AssertionError unless only this fails."""
    source = source_of(guard)
    for name, text in (("with", source), ("without", source.replace(guard.text, guard.instead))):
        place = directory / name
        place.mkdir()
        subject = with_text(guard.file, text, place)
        empty = place / "empty"
        empty.mkdir()
        try:
            guard.scenario(subject, empty)
        except Fault:
            assert name == "without", f"{guard}: the fault happens with the guard too"
        else:
            assert name == "with", f"{guard}: nothing happens without the guard:\n{guard.text}"


def with_text(file: str, text: str, directory: Path) -> Any:
    """A file of the repository as if it held this text.

    Returns:
        For Python, a module of its own: no other module sees it. For anything else, a copy of its
        folder, in a directory of its own.
    """
    path = ROOT / file
    if path.suffix != ".py":
        copy = directory / path.parent.name
        shutil.copytree(path.parent, copy)
        (copy / path.name).write_text(text, encoding="utf-8")
        return copy
    name = ".".join(Path(file).with_suffix("").parts)
    if file.startswith("perl_jax/"):
        importlib.import_module(name)  # annotations are looked up in the module of that name
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(path), name.rpartition(".")[0]
    vars(module)["__source__"] = text
    exec(compile(text, str(path), "exec"), vars(module))
    return module


def hold(condition: object, fault: str) -> None:
    """Raises `Fault` unless a condition holds."""
    if not condition:
        raise Fault(fault)


def refused(kind: type[BaseException], words: str, call: Callable[[], Any]) -> None:
    """Raises `Fault` unless a call raises an error of a kind, whose message holds these words."""
    try:
        result = call()
    except kind as error:
        hold(words in str(error), f"expected an error with {words!r}; got {error!r}")
    except _BROKEN:
        raise
    except BaseException as error:
        raise Fault(f"expected {kind.__name__}; got {error!r}") from error
    else:
        raise Fault(f"expected {kind.__name__} with {words!r}; got {result!r:.200}")
