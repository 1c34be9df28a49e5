"""Writes docs/reliability.md from faults.txt and the tests: ``python docs/make_reliability.py``.

A test says which faults it provokes: ``@pytest.mark.reliability("27", "F6")``.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"
PAGE, FAULTS, SOAK = DOCS / "reliability.md", DOCS / "faults.txt", DOCS / "soak.json"
MARKER = "reliability"
STORIES = ("pytest.mark.story", "pytest.mark.soak")
INTRODUCTION = """\
# Reliability

<!-- Written by docs/make_reliability.py from docs/faults.txt, docs/soak.json and the markers in
tests/. Change these, not this page. -->

This page lists what may go wrong in a run, what then happens, and the test that provokes it. A row
that is skipped is counted by its reason and named in the log and in `skipped_rows.jsonl`; too many
of them end the run (`data.pipeline.max_bad_fraction`). [runs.md](runs.md) says how runs are stopped
and go on.
"""
SOAK_TEXT = """\
## The soak

`make soak` runs the demo's policy for an hour (`SOAK_MINUTES`), twice: once undisturbed, and once
killed every 20 to 80 steps, at moments drawn from a seed: the main process, a data worker, a
grading worker, in a save, in a restore; and on a disk that fills until the run ends, and is then
emptied. Two hosts do the same, of which one is killed at a time. 2 % of the rows are damaged, and a
reward function hangs now and then, over the same responses in both. At the end arrays, records of
rollouts, metrics (but for times) and the log of skipped rows must be the same bit for bit. No
process, lease, shared memory or temporary file may be left, and memory and open handles of the
undisturbed run may not grow. `tests/soak/battery.py` writes what happens to a file as it happens,
and goes on where it was stopped.

"""
FAULTS_NOTE = """\
Tests with an asterisk start whole runs: `make stories` runs them, or `make soak` where they are
long; `make test` runs all others.
"""


@dataclass(frozen=True)
class Fault:
    """One line of faults.txt.

    Attributes:
        number: Its number, such as ``F6``.
        what: What goes wrong.
        outcome: What then happens.
        untested: Why no test can provoke it; empty if one does.
    """

    number: str
    what: str
    outcome: str
    untested: str = ""


@dataclass(frozen=True)
class Test:
    """A test: its name for pytest, and whether it is one of the stories."""

    name: str
    story: bool


def read_faults(text: str) -> dict[str, list[Fault]]:
    """The faults by their headings.

    Raises:
        ValueError: A line is not one, or a number stands twice; names the line.
    """
    found: dict[str, list[Fault]] = {}
    known: set[str] = set()
    for place, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            found[line.removeprefix("## ")] = []
        elif line and not line.startswith("# "):
            cells = [cell.strip() for cell in line.split(" | ")]
            if not found or len(cells) not in (3, 4) or not all(cells) or cells[0] in known:
                raise ValueError(
                    f"line {place}: expected a new number | fault | outcome below a heading, and "
                    f"perhaps why it is not tested; got {line!r}"
                )
            known.add(cells[0])
            list(found.values())[-1].append(Fault(*cells))
    return found


def marked_tests(root: Path) -> dict[str, list[Test]]:
    """The tests below a directory by the numbers of the faults that they are marked with."""
    found: dict[str, list[Test]] = {}
    for path in sorted(root.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        is_story = _is_story(module)
        for name, numbers, story in _marked(module):
            test = Test(f"{path.relative_to(root).as_posix()}::{name}", story or is_story)
            for number in numbers:
                found.setdefault(number, []).append(test)
    return found


def _marked(
    body: ast.Module | ast.ClassDef, owner: str = ""
) -> Iterator[tuple[str, list[str], bool]]:
    for node in body.body:
        if isinstance(node, ast.ClassDef):
            yield from _marked(node, f"{node.name}::")
        if isinstance(node, ast.FunctionDef):
            marks = list(map(ast.unparse, node.decorator_list))
            numbers = [
                argument.value
                for call in node.decorator_list
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(f".{MARKER}")
                for argument in call.args
                if isinstance(argument, ast.Constant)
            ]
            if numbers:
                yield owner + node.name, numbers, any(mark in STORIES for mark in marks)


def _is_story(module: ast.Module) -> bool:
    """Whether a whole file is marked as one."""
    return any(
        isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "pytestmark"
        and any(mark in ast.unparse(node.value) for mark in STORIES)
        for node in module.body
    )


def check(faults: Mapping[str, Sequence[Fault]], tests: Mapping[str, Sequence[Test]]) -> None:
    """Raises ValueError unless every fault has a test or a reason, and every marker a fault."""
    all_faults = [fault for rows in faults.values() for fault in rows]
    unknown = sorted(set(tests) - {fault.number for fault in all_faults})
    neither = [f.number for f in all_faults if not f.untested and f.number not in tests]
    both = [f.number for f in all_faults if f.untested and f.number in tests]
    for numbers, what in (
        (unknown, "in markers and not in faults.txt"),
        (neither, "without a test and without a reason"),
        (both, "with a test and a reason why there is none"),
    ):
        if numbers:
            raise ValueError(f"faults {what}: {', '.join(numbers)}")


def page() -> str:
    """The text of docs/reliability.md."""
    faults, tests = read_faults(FAULTS.read_text(encoding="utf-8")), marked_tests(TESTS)
    check(faults, tests)
    parts = [INTRODUCTION, _soak(json.loads(SOAK.read_text(encoding="utf-8"))), FAULTS_NOTE]
    for heading, rows in faults.items():
        lines = ["| | what goes wrong | what happens | test |", "|---|---|---|---|"]
        for fault in rows:
            shown = fault.untested or "<br>".join(map(_shown, tests[fault.number]))
            lines.append(f"| {fault.number} | {fault.what} | {fault.outcome} | {shown} |")
        parts.append(f"## {heading}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _shown(test: Test) -> str:
    return f"`{test.name}`" + " *" * test.story


def _soak(runs: Sequence[Mapping[str, object]]) -> str:
    """What the soaks found, each a line of figures."""
    if not runs:
        return SOAK_TEXT + "No soak of this version has ended so far.\n"
    columns = ("steps", "run time", "kills", "differences", "left over", "memory in 100 steps")
    lines = [f"| command | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [
        f"| `{run['command']}` | {' | '.join(str(run[c]) for c in columns)} |" for run in runs
    ]
    return SOAK_TEXT + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
