"""The runs of the soak, each a process or two: started, waited for, killed."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.compiling import OTHER_EMITTERS
from tests.training.many_hosts import Hosts
from tests.training.resuming import Run, descendants, runs

CONFIG = "tests/soak/config.py"
HOSTS_CONFIG = "tests/soak/hosts_config.py"
EVERY = 10
_PATIENCE_SECONDS = 3 * 3600.0


def variables(place: Path) -> dict[str, str]:
    """Of all processes of the soak: on one CPU device, compiled once for all."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": OTHER_EMITTERS,
        "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PERL_JAX_SOAK_ROWS": str(place / "rows"),
        "TMPDIR": str(place / "tmp"),
    }


def step_of(workdir: Path) -> int:
    """The last step of which the metrics are logged."""
    with suppress(OSError, ValueError, IndexError):
        with (workdir / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
            # The last line may not be complete yet.
            whole = file.read().rpartition(b"\n")[0]
        return int(json.loads(whole.splitlines()[-1])["step"])
    return 0


class Refused(AssertionError):
    """A run ended otherwise than it should have."""


class OneRun:
    """A run of one process, and those that this one starts."""

    every = EVERY

    def __init__(self, workdir: Path, variables: dict[str, str], steps: int) -> None:
        self.workdir, self.variables, self.steps = workdir, variables, steps
        self.run: Run | None = None

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The main process."""
        return [] if self.run is None else [self.run.process]

    def start(self) -> None:
        """Starts it, or lets it go on."""
        told = self.workdir.with_name(f"{self.workdir.name}.told")
        flags = [f"--config={CONFIG}", f"--config.steps={self.steps}"]
        self.run = Run(self.workdir, self.variables, *flags, told=told)

    def runs(self) -> bool:
        """Whether its main process runs."""
        return self.run is not None and self.run.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Waits at most so long for the end; whether it ended well.

        Raises:
            Refused: It ended otherwise.
        """
        status = _wait(self._process(), seconds)
        if status not in (None, 0):
            raise Refused(f"exit status {status}: {self.said()}")
        return status == 0

    def finish(self) -> None:
        """Waits until it has ended well."""
        self.wait(_PATIENCE_SECONDS)

    def said(self) -> str:
        """The last line that it printed."""
        assert self.run is not None
        return (self.run.output.read_text(errors="replace").splitlines() or [""])[-1]

    def stop(self) -> None:
        """Kills what runs of it."""
        if self.runs():
            self.kill()

    def kill(self) -> None:
        """Kills the main process; those that it started must end by themselves."""
        started = list(descendants(self._process().pid))
        self._process().send_signal(signal.SIGKILL)
        self._process().wait()
        _until_gone(started)

    def kill_while_saving(self) -> None:
        """Kills it with a step half written."""
        assert self.run is not None
        started = list(descendants(self._process().pid))
        self.run.kill_while_saving()
        _until_gone(started)

    def until_restoring(self) -> None:
        """Waits until it reads a checkpoint."""
        assert self.run is not None
        told = self.run.told
        assert told is not None
        self.run.until(lambda: "restore" in told.read_text())

    def kill_one_of(self, program: str) -> int:
        """Kills a process that runs a program, of those that have started no other one."""
        found: list[int] = []

        def some() -> bool:
            for process in descendants(self._process().pid):
                with suppress(OSError):
                    command = Path(f"/proc/{process}/cmdline").read_bytes().decode()
                    if program in command and not list(descendants(process)):
                        found.append(process)
            return bool(found)

        assert self.run is not None
        self.run.until(some, every=0.1)
        process = random.choice(found)
        os.kill(process, signal.SIGKILL)
        return process

    def lose_worker(self, program: str) -> str:
        """Kills a worker without which the run cannot go on; returns what it says of it."""
        self.kill_one_of(program)
        return self.refusal()

    def refusal(self) -> str:
        """Waits until the run has ended with one line of error; returns it."""
        started = list(descendants(self._process().pid))
        status = self._process().wait(_PATIENCE_SECONDS)
        _until_gone(started)
        if status != 1 or not self.said().startswith("error: "):
            raise Refused(f"exit status {status}: {self.said()}")
        return self.said()

    def _process(self) -> subprocess.Popen[bytes]:
        assert self.run is not None
        return self.run.process


class HostsRun:
    """A run of two hosts, each a process on this machine."""

    every = EVERY

    def __init__(self, workdir: Path, variables: dict[str, str], steps: int) -> None:
        self.workdir, self.variables, self.steps = workdir, variables, steps
        self.hosts: Hosts | None = None

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Both."""
        return [] if self.hosts is None else self.hosts.processes

    def start(self) -> None:
        """Starts it, or lets it go on."""
        flags = [f"--config={HOSTS_CONFIG}", f"--config.steps={self.steps}"]
        self.hosts = Hosts(self.workdir, self.variables, (2, 1, 1), 2, *flags)

    def runs(self) -> bool:
        """Whether one of the processes runs."""
        return any(process.poll() is None for process in self.processes)

    def wait(self, seconds: float) -> bool:
        """As that of one process."""
        statuses = [_wait(process, seconds) for process in self.processes]
        if set(statuses) - {None, 0}:
            raise Refused(f"exit status {statuses}: {self.said()}")
        return None not in statuses

    def finish(self) -> None:
        """Waits until both have ended well."""
        self.wait(_PATIENCE_SECONDS)

    def said(self) -> str:
        """The last lines of both."""
        assert self.hosts is not None
        lasts = [(text.splitlines() or [""])[-1] for text in self.hosts.said()]
        return " | ".join(lasts)

    def stop(self) -> None:
        """Kills what runs of it."""
        for process in self.processes:
            process.kill()

    def kill(self, host: int) -> str:
        """Kills one host, and waits until the other has ended too; returns what it said."""
        assert self.hosts is not None
        started = [child for p in self.processes for child in descendants(p.pid)]
        self.hosts.signal(host, signal.SIGKILL)
        statuses = [process.wait(_PATIENCE_SECONDS) for process in self.processes]
        _until_gone(started)
        if 0 in statuses:
            raise Refused(f"exit status {statuses}: {self.said()}")
        return self.said()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _until_gone(processes: list[int]) -> None:
    _until(lambda: not any(map(runs, processes)), f"still there: {processes}")


def _until(happened: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 600
    while not happened():
        if time.monotonic() > deadline:
            raise Refused(otherwise)
        time.sleep(0.05)
