"""Real runs in processes of their own: started, watched, killed, and compared at the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perl_jax.training.display.writers import read_metrics
from tests.compiling import QUICKLY

if TYPE_CHECKING:
    import jax

ROOT = Path(__file__).parents[2]
CONFIG = "tests/training/resume_config.py"
PHASES = ("rollout", "update", "save")
_DEADLINE_SECONDS = 1200.0


def environment(cache: Path) -> dict[str, str]:
    """One CPU device, and programs that are compiled once for all processes, and quickly.

    Sizes and times are no bar to the cache: most programs of so small a run are below its limits.
    """
    return (
        {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        | os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": QUICKLY,
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    )


class Run:
    """A process that trains. What it prints goes into a file beside the work directory.

    Args:
        workdir: Of the run.
        environment: Of the process.
        overrides: Flags, such as ``--config.steps=3``.
        told: Where the process tells what it does (see ``resume_program``); None runs the command
            as a user does.
    """

    def __init__(
        self,
        workdir: Path,
        environment: Mapping[str, str],
        *overrides: str,
        told: Path | None = None,
    ) -> None:
        self.workdir = workdir
        self.told = told
        self.output = workdir.with_name(workdir.name + ".log")
        if told is not None:
            told.write_text("")
        program = ["perl_jax.train"]
        if told is not None:
            program = ["tests.training.resume_program", "tell", str(told)]
        flags = [f"--config={CONFIG}", f"--workdir={workdir}", *overrides]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *program, *flags],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self) -> str:
        """Waits for an exit status of 0; returns what was printed."""
        status = self.process.wait(_DEADLINE_SECONDS)
        assert status == 0, f"exit status {status}:\n{self.output.read_text()}"
        return self.output.read_text()

    def until(self, happened: Callable[[], bool], *, every: float = 0.005) -> None:
        """Looks every so many seconds whether something has happened."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happened():
            assert self.process.poll() is None, f"it ended:\n{self.output.read_text()}"
            assert time.monotonic() < deadline, f"nothing happens:\n{self.output.read_text()}"
            time.sleep(every)

    def has_reached(self, step: int, phase: str) -> bool:
        """Whether the process has said that it begins this, or that it is further."""
        assert self.told is not None
        place = (step, PHASES.index(phase))
        return any(
            (int(number), PHASES.index(told)) >= place
            for told, number in map(str.split, self.told.read_text().splitlines())
            if told in PHASES
        )

    def saving(self) -> list[Path]:
        """Steps on the disk that are not complete yet."""
        return list((self.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp"))

    def signal(self, number: signal.Signals) -> None:
        """To the process and those of its group."""
        os.killpg(self.process.pid, number)

    def kill_while_saving(self) -> None:
        """Kills it at a moment when a step is surely half written."""

        def half_written() -> bool:
            if not self.saving():
                return False
            self.signal(signal.SIGSTOP)
            if self.saving():
                return True
            self.signal(signal.SIGCONT)
            return False

        self.until(half_written, every=0.001)
        self.kill()

    def kill(self) -> None:
        """Kills it, and asserts that no process that it started outlives it."""
        started = list(descendants(self.process.pid))
        self.signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        deadline = time.monotonic() + 60
        while any(map(runs, started)):
            assert time.monotonic() < deadline, f"still there: {started}"
            time.sleep(0.01)


@dataclass(frozen=True)
class Moment:
    """When a run is killed: so many seconds after a phase of a step, from 1, has begun."""

    step: int
    phase: str
    seconds: float

    def strike(self, run: Run) -> str:
        """Waits for the moment and kills; returns what the run was doing, by its own account."""
        run.until(lambda: run.has_reached(self.step, self.phase))
        if self.phase == "save":
            run.kill_while_saving()
            assert run.saving()
        else:
            time.sleep(self.seconds)
            run.kill()
        assert run.told is not None
        return run.told.read_text().splitlines()[-1]


def first_step(told: Path) -> int:
    """The first step that a run which tells what it does drew rollouts for."""
    phases = map(str.split, told.read_text().splitlines())
    return next(int(number) for phase, number in phases if phase == "rollout")


def moments(kills: int, steps: int, seed: int) -> list[Moment]:
    """Moments spread over a run; of three in a row, one is in each phase."""
    draw = random.Random(seed)
    phases: list[str] = []
    while len(phases) < kills:
        phases += draw.sample(PHASES, 3)
    return [
        Moment(1 + number * (steps - 1) // kills, phase, draw.uniform(0, 0.5))
        for number, phase in enumerate(phases[:kills])
    ]


def arrays_and_host(workdir: Path) -> tuple[dict[str, "jax.Array"], dict[str, Any]]:
    """The last checkpoint of a run: verified arrays by name, and what stands beside them."""
    # Imported here: who only starts and kills runs needs none of it, and no second to import it.
    import jax

    from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
    from perl_jax.training.checkpoint.files import StepFiles

    directory = workdir / "checkpoints"
    files = StepFiles(directory)
    with Checkpoints(directory, CheckpointConfig(), fingerprint=None) as checkpoints:
        step = checkpoints.latest_step()
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        leaves = files.record(step).leaves
        key = jax.eval_shape(lambda: jax.random.key(0)).dtype
        abstract = {
            name: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype if leaf.key is None else key, sharding=device
            )
            for name, leaf in leaves.items()
        }
        restored = checkpoints.restore(abstract, step)
    return restored.arrays, restored.host | {"step": restored.step}


def differences(one: Path, other: Path) -> list[str]:
    """In what two finished runs differ, but for times: nothing, if they are the same run.

    Entries are such as ``params`` and ``optimizer`` for the arrays of the last checkpoint,
    ``data`` for what stands beside them, ``step 3: id`` for the records of rollouts
    and ``step 3: policy/loss`` for the metrics.
    """
    (arrays, host), (others, other_host) = arrays_and_host(one), arrays_and_host(other)
    found = {
        name.split(".")[0]
        for name in arrays.keys() | others.keys()
        if name not in arrays or name not in others or _bytes(arrays[name]) != _bytes(others[name])
    }
    found |= _unequal("", _flat(host), _flat(other_host))
    rows, other_rows = _rows(one), _rows(other)
    found |= _unequal(
        "steps of ", *({k: sorted(v) for k, v in r.items()} for r in (rows, other_rows))
    )
    for file in rows:
        for step in rows[file].keys() & other_rows[file].keys():
            found |= _unequal(f"step {step}: ", rows[file][step], other_rows[file][step])
    return sorted(found)


def _bytes(array: "jax.Array") -> bytes:
    import jax

    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return jax.device_get(array).tobytes()


def _flat(host: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the arrays, without times."""
    progression = {n: v for n, v in host["progression"].items() if n != "seconds"}
    return {**host["stepper"], "progression": progression, "last step": host["step"]}


def _rows(workdir: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """The rows of both logs by step; speed and the number of compilations are not of the result."""
    groups = [json.loads(line) for line in (workdir / "rollouts.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in groups] == sorted(row["step"] for row in groups)
    records = [
        {"step": step} | {name: [row[name] for row in rows] for name in rows[0] if name != "step"}
        for step, rows in (
            (step, list(rows)) for step, rows in groupby(groups, lambda row: row["step"])
        )
    ]
    for record in records:
        assert record["group"] == list(range(len(record["group"])))
    metrics = [
        {name: value for name, value in row.items() if not name.startswith("perf/")}
        for row in read_metrics(workdir / "metrics.jsonl")
    ]
    logs = {"rollouts.jsonl": records, "metrics.jsonl": metrics}
    for name, rows in logs.items():
        steps = [row["step"] for row in rows]
        assert steps == sorted(set(steps)), f"{name}: steps {steps}"
    return {name: {row["step"]: row for row in rows} for name, rows in logs.items()}


def _unequal(prefix: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    missing = object()
    names = one.keys() | other.keys()
    return {prefix + n for n in names if one.get(n, missing) != other.get(n, missing)}


def descendants(parent: int) -> Iterator[int]:
    """The processes that a process started, and those that these did."""
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            for child in map(int, file.read_text().split()):
                yield child
                yield from descendants(child)


def runs(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
