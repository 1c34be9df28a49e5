"""What the benchmarks share: sides timed in turn, their ratios, and which ones have become worse.

A benchmark is a module with ``run(options)``, which gives its `Case`s. Load on the machine changes
from minute to minute, so sides take turns, and the ratio is the median of the ratios of the turns:
both sides of a turn saw the same load. The first turns, in which programs are compiled and caches
filled, are dropped.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A ratio may be this much below the committed one before it is reported.
TOLERANCE = 0.15

Json = dict[str, Any]
Clock = Callable[[], float]


class Unavailable(Exception):
    """A benchmark cannot run here; the message says what to install."""


@dataclass(frozen=True)
class Options:
    """How benchmarks are run.

    Attributes:
        repeats: Turns of every side; None: as many as the benchmark takes by default.
        clock: What times are read from.
    """

    repeats: int | None = None
    clock: Clock = time.perf_counter

    def turns(self, default: int) -> int:
        """The number of turns."""
        return self.repeats or default


@dataclass(frozen=True)
class Case:
    """One workload of a benchmark.

    Attributes:
        name: What it is, within its benchmark.
        ratios: By name; larger is better. They are what a check compares.
        seconds: The times of each side, turn by turn.
        counted: By side, what was counted: ``flops`` and ``bytes``, or a number of another name.
        facts: What else a reader wants to know of it.
    """

    name: str
    ratios: Mapping[str, float]
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Numbers that a person can read and `worse` can compare."""
        return {
            "ratios": {name: round(ratio, 3) for name, ratio in self.ratios.items()},
            "seconds": {side: summary(times) for side, times in self.seconds.items()},
            "counted": {side: dict(numbers) for side, numbers in self.counted.items()},
            "facts": dict(self.facts),
        }

    def lines(self) -> list[str]:
        """A line for the ratios and one for each side."""
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in self.ratios.items())
        lines = [f"{self.name}: {ratios}"]
        for side in dict.fromkeys((*self.seconds, *self.counted)):
            words = [f"  {side:24}"]
            if side in self.seconds:
                one = summary(self.seconds[side])
                words.append(f"{one['median']:8.3f} s ({one['least']:.3f} to {one['most']:.3f})")
            words += [f"{n:.3e} {what}" for what, n in self.counted.get(side, {}).items()]
            lines.append("  ".join(words))
        lines += [f"  {name}: {fact}" for name, fact in self.facts.items()]
        return lines


def pin(core: int) -> None:
    """Holds this process, and those that it starts, to one core; before jax or torch start."""
    os.sched_setaffinity(0, {core})
    os.environ.update(OMP_NUM_THREADS="1", JAX_PLATFORMS="cpu", TOKENIZERS_PARALLELISM="false")


def alternate(
    sides: Mapping[str, Callable[[], Any]],
    turns: int,
    *,
    dropped: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each side in each turn, without the first ``dropped`` ones."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(dropped + turns):
        for side, run in sides.items():
            start = clock()
            run()
            if turn >= dropped:
                seconds[side].append(clock() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times as long the first side takes: the median over the turns."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def summary(times: Sequence[float]) -> dict[str, float]:
    """The median of times, and their spread."""
    found = {"median": statistics.median(times), "least": min(times), "most": max(times)}
    return {name: round(seconds, 4) for name, seconds in found.items()}


def worse(measured: Mapping[str, Json], committed: Mapping[str, Json]) -> list[str]:
    """What is worse than committed, a line each, for the benchmarks that were measured.

    Both are cases by name by benchmark, as `Case.as_json` gives them.
    """
    found = []
    for bench, cases in measured.items():
        for case, before in committed.get(bench, {}).items():
            now = cases.get(case, {}).get("ratios", {})
            for name, expected in before["ratios"].items():
                where = f"{bench}: {case}: {name}"
                if name not in now:
                    found.append(f"{where}: {expected} is committed; it was not measured")
                elif now[name] < (1 - TOLERANCE) * expected:
                    lost = 1 - now[name] / expected
                    found.append(f"{where}: {now[name]}, {lost:.0%} below the committed {expected}")
    return found
