"""What a run takes of the machine while it runs, and leaves when it has ended."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.training.resuming import descendants

_SHARED_MEMORY = Path("/dev/shm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """What a process held after a step.

    Attributes:
        step: The step.
        process: The process.
        megabytes: Its memory, with that of all processes that it started.
        handles: Its open files, sockets and pipes.
        children: The processes that it started, and those that these did.
    """

    step: int
    process: int
    megabytes: float
    handles: int
    children: int


def sample(process: int, step: int) -> Sample:
    """Looks at a process; raises OSError if it has ended."""
    children = list(descendants(process))
    own = _memory(process)
    if not own:  # its parent has not asked for its end yet
        raise ProcessLookupError(f"process {process} has ended")
    memory = own + sum(map(_memory, children))
    handles = len(os.listdir(f"/proc/{process}/fd"))
    return Sample(step, process, round(memory / 1e6, 2), handles, len(children))


def _memory(process: int) -> int:
    # A child may have ended.
    with suppress(OSError, ProcessLookupError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    return 0


@dataclass(frozen=True)
class Growth:
    """By how much a process grew in 100 steps, by the steps from one to another."""

    megabytes: float
    handles: float
    first: int
    last: int


def growth(samples: Sequence[Sample], settled: int) -> Growth:
    """The slope over what one process held, the one that was seen most, after so many steps.

    A grading worker that is replaced comes and goes with its memory, so that no two samples are
    compared, but all of them with a line.
    """
    processes = [one.process for one in samples]
    longest = max(processes, key=processes.count)
    start = next(one.step for one in samples if one.process == longest)
    chosen = [s for s in samples if s.process == longest and s.step >= start + settled]
    if len({one.step for one in chosen}) < 2:
        raise ValueError(f"expected samples of several steps after {settled}; got {len(chosen)}")
    steps = np.array([one.step for one in chosen], float)
    memory, handles = (
        100 * float(np.polyfit(steps, np.array(values, float), 1)[0])
        for values in ([s.megabytes for s in chosen], [s.handles for s in chosen])
    )
    return Growth(round(memory, 3), round(handles, 3), int(steps[0]), int(steps[-1]))


def shared_memory() -> set[str]:
    """The names of what is in shared memory."""
    return set(os.listdir(_SHARED_MEMORY)) if _SHARED_MEMORY.is_dir() else set()


def left_in_shared_memory(before: set[str]) -> list[str]:
    """What is there now, was not before, and no running process has mapped or open."""
    new = shared_memory() - before
    return sorted(new - _held(new)) if new else []


def _held(names: Iterable[str]) -> set[str]:
    wanted = {str(_SHARED_MEMORY / name): name for name in names}
    held = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            for line in Path(f"/proc/{process}/maps").read_text(errors="replace").splitlines():
                held |= {name for path, name in wanted.items() if path in line}
        with suppress(OSError):
            for handle in os.scandir(f"/proc/{process}/fd"):
                with suppress(OSError):
                    target = os.readlink(handle.path).removesuffix(" (deleted)")
                    held |= {wanted[target]} if target in wanted else set()
    return held


def names_of(workdir: Path) -> set[str]:
    """The files and directories of a run, relative to it."""
    return {str(path.relative_to(workdir)) for path in workdir.rglob("*")}


def left_over(workdir: Path, like: Path, temporary: Path) -> dict[str, list[str]]:
    """What a finished run left beyond the files of another one, by where it is.

    Names in ``arrays`` of checkpoints are chosen by what writes them, and are not compared. A run
    that was killed before its first checkpoint sets aside what it had, in ``before-TIME``.
    """
    found: Mapping[str, Iterable[str]] = {
        "work directory": {
            name
            for name in names_of(workdir) - names_of(like)
            if "/arrays/" not in name and not name.startswith("before-")
        },
        "lease": {str(path) for path in workdir.rglob(".lease")},
        "temporary directory": os.listdir(temporary),
    }
    return {where: sorted(names) for where, names in found.items() if names}
