"""Runs that are killed and short of disk for an hour, and end as those that were not.

    python -m tests.soak.battery --place=DIR --steps=2000 --seed=0

The same command goes on where it was stopped. ``DIR/results.jsonl`` has a line for all that
happened, as it happens, and at the end one of figures; the exit status is 1 if one is wrong. It
prints the row of this soak for docs/soak.json.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perl_jax.files import whole_directory
from tests.soak.blows import HOSTS, KINDS, MOST, Blow, blows
from tests.soak.disk import SmallDisk, why_none
from tests.soak.rows import write_rows
from tests.soak.runs import HostsRun, OneRun, Refused, step_of, variables
from tests.soak.watch import (
    Sample,
    growth,
    left_in_shared_memory,
    left_over,
    sample,
    shared_memory,
)
from tests.training.resuming import differences

_DISK_MEGABYTES = 256
_EVERY_SECONDS = 5.0
# The two hosts do fewer steps: each of them takes longer, and starts for longer.
_HOSTS_SHARE = 20
# After so many steps everything has been compiled, read and cached.
_SETTLED = 200
_MOST_MEGABYTES = 1.0
_MOST_HANDLES = 0.1


class Results:
    """What happened so far, in a file that each line is added to at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: str, **facts: Any) -> None:
        """Writes a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1), "event": event, **facts}) + "\n")

    def of(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """The lines of an event with these facts; one that was cut off counts as not there."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if {"event": event, **facts}.items() <= row.items():
                    found.append(row)
        return found


class Battery:
    """One soak in a directory."""

    def __init__(self, place: Path, steps: int, seed: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place, self.steps, self.seed = place, steps, seed
        self.results = Results(place / "results.jsonl")
        self.temporary = place / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.variables = variables(place)
        self.kinds: Sequence[str] = KINDS
        if why := why_none(place / "probe"):
            self.kinds = [kind for kind in KINDS if kind != "disk"]
            self.results.add("left out", what="disk", why=why)

    def run(self) -> bool:
        """Does what is left to do; returns whether all figures are as they should be."""
        self.results.add(
            "began", steps=self.steps, seed=self.seed, shared_memory=sorted(shared_memory())
        )
        if not (self.place / "rows").exists():
            with whole_directory(self.place / "rows") as rows:
                write_rows(rows)
        alone, battered = self.one("alone"), self.one("battered")
        hosts, battered_hosts = self.two("two_hosts"), self.two("battered_hosts")
        with ExitStack() as stack:
            for run in (alone, battered, hosts, battered_hosts):
                stack.callback(run.stop)
            self.undisturbed("alone", alone)
            self.battered("battered", battered)
            self.undisturbed("two hosts", hosts)
            self.battered_hosts("battered hosts", battered_hosts)
        return self.judge()

    def one(self, name: str) -> OneRun:
        """A run of one process."""
        return OneRun(self.place / name, self.variables, self.steps)

    def two(self, name: str) -> HostsRun:
        """A run of two."""
        steps = max(3, self.steps // _HOSTS_SHARE)
        return HostsRun(self.place / name, self.variables, steps)

    def undisturbed(self, name: str, run: OneRun | HostsRun) -> None:
        """Lets a run end, and looks at what it takes."""
        if self.results.of("finished", run=name):
            return
        began = time.time()
        run.start()
        while not run.wait(_EVERY_SECONDS):
            with suppress(OSError, ProcessLookupError):
                seen = sample(run.processes[0].pid, step_of(run.workdir))
                self.results.add("sample", run=name, **asdict(seen))
        self._finished(name, run, began)

    def battered(self, name: str, run: OneRun) -> None:
        """Strikes a run until it has ended."""
        disk = SmallDisk(run.workdir, _DISK_MEGABYTES) if "disk" in self.kinds else None
        if self.results.of("finished", run=name):
            return
        if disk is not None:
            disk.empty()
        began = time.time()
        for blow in self._blows(name, self.kinds):
            if not run.runs():
                run.start()
            if not self._reached(name, run, blow):
                break
            self.results.add("blow", run=name, kind=blow.kind, **self._strike(run, disk, blow))
        self._finished(name, run, began)

    def battered_hosts(self, name: str, run: HostsRun) -> None:
        """Kills one of two hosts again and again, until the run has ended."""
        if self.results.of("finished", run=name):
            return
        began = time.time()
        for blow in self._blows(name, HOSTS):
            if not run.runs():
                run.start()
            if not self._reached(name, run, blow):
                break
            time.sleep(blow.seconds)
            said = run.kill(HOSTS.index(blow.kind))
            self.results.add("blow", run=name, kind=blow.kind, step=step_of(run.workdir), said=said)
        self._finished(name, run, began)

    def _blows(self, name: str, kinds: Sequence[str]) -> Iterator[Blow]:
        return blows(self.seed, kinds, first=len(self.results.of("blow", run=name)))

    def _reached(self, name: str, run: OneRun | HostsRun, blow: Blow) -> bool:
        """Waits until a blow is due; False if there is no room for it before the end."""
        scale = min(1.0, run.steps / (5 * MOST))
        due = step_of(run.workdir) + max(1, round(blow.after * scale))
        while step_of(run.workdir) < due:
            if due + run.every >= run.steps:
                run.finish()
                return False
            if run.wait(0.2):
                raise Refused(f"{name} ended before its last step: {run.said()}")
        return True

    def _strike(self, run: OneRun, disk: SmallDisk | None, blow: Blow) -> dict[str, Any]:
        step = step_of(run.workdir)
        match blow.kind:
            case "main":
                time.sleep(blow.seconds)
                run.kill()
            case "saving":
                run.kill_while_saving()
            case "restoring":
                run.kill()
                run.start()
                run.until_restoring()
                time.sleep(blow.seconds)
                run.kill()
            case "data worker":
                return {"step": step, "said": run.lose_worker("data/pipeline/worker.py")}
            case "grader worker":
                return {"step": step, "killed": run.kill_one_of("rewards/symbolic.py")}
            case "disk":
                assert disk is not None
                disk.fill()
                said = run.refusal()
                disk.empty()
                assert "No space left" in said, said
                return {"step": step, "said": said}
        return {"step": step}

    def _finished(self, name: str, run: OneRun | HostsRun, began: float) -> None:
        self.results.add("finished", run=name, steps=run.steps, seconds=round(time.time() - began))

    def judge(self) -> bool:
        """Writes the figures; returns whether they are as they should be."""
        place = self.place
        # Also what was there before this command was stopped and given again.
        before = set(self.results.of("began")[0]["shared_memory"])
        pairs = {"alone": "battered", "two_hosts": "battered_hosts"}
        figures: dict[str, Any] = {
            "differences": {
                other: differences(place / one, place / other) + _other_rows(place, one, other)
                for one, other in pairs.items()
            },
            "left over": {
                other: left_over(place / other, place / one, self.temporary)
                for one, other in pairs.items()
            },
            "left in shared memory": left_in_shared_memory(before),
        }
        bad = [name for name, found in figures.items() if _any(found)]
        samples = [
            Sample(**{field: row[field] for field in Sample.__annotations__})
            for row in self.results.of("sample", run="alone")
        ]
        slope = growth(samples, min(_SETTLED, self.steps // 4))
        figures["growth in 100 steps"] = asdict(slope)
        if slope.megabytes >= _MOST_MEGABYTES or slope.handles >= _MOST_HANDLES:
            bad.append("growth in 100 steps")
        struck = Counter(row["kind"] for row in self.results.of("blow"))
        figures["blows"] = dict(struck)
        # A run that nothing happened to proves nothing.
        if not all(struck.keys() & set(kinds) for kinds in (self.kinds, HOSTS)):
            bad.append("blows")
        self.results.add("figures", bad=bad, seconds=self._seconds(), **figures)
        return not bad

    def row(self) -> dict[str, Any]:
        """The last figures, as docs/soak.json lists them."""
        figures = self.results.of("figures")[-1]
        minutes = round(figures["seconds"] / 60)
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(figures["blows"].items()))
        slope = figures["growth in 100 steps"]["megabytes"]
        left = {name: figures[name] for name in ("left over", "left in shared memory")}
        return {
            "command": f"python -m tests.soak.battery --steps={self.steps} --seed={self.seed}",
            "steps": self.steps,
            "run time": f"{minutes // 60} h {minutes % 60} min",
            "kills": f"{sum(figures['blows'].values())}: {kinds}",
            "differences": str(figures["differences"]) if _any(figures["differences"]) else "none",
            "left over": str(left) if _any(left) else "nothing",
            "memory in 100 steps": f"{slope:+.2f} MB",
        }

    def _seconds(self) -> int:
        return sum(row["seconds"] for row in self.results.of("finished"))


def _other_rows(place: Path, one: str, other: str) -> list[str]:
    """What differs in the log of rows that were left out."""
    name = "skipped_rows.jsonl"
    contents = [(place / run / name).read_bytes() for run in (one, other)]
    return [] if contents[0] == contents[1] else [name]


def _any(found: Any) -> bool:
    return any(map(_any, found.values())) if isinstance(found, dict) else bool(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clear", action="store_true", help="remove DIR after a good end")
    args = parser.parse_args(arguments)
    # What is started is ended with this program, which may be asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    battery = Battery(args.place, args.steps, args.seed)
    good = battery.run()
    print(json.dumps(battery.row(), indent=2))
    if good and args.clear:
        if "disk" in battery.kinds:
            SmallDisk(args.place / "battered", _DISK_MEGABYTES).close()
        shutil.rmtree(args.place)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
