"""Runs of several processes, as hosts of one run: started, watched, killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.training.resuming import ROOT

_DEADLINE_SECONDS = 900.0


class Hosts:
    """The processes of one run of ``python -m perl_jax.train``.

    Args:
        workdir: Of the run, which all share.
        environment: Of the processes.
        mesh: Sizes of ``data``, ``fsdp`` and ``tensor``.
        count: How many hosts. On several, rollouts have a mesh of their own, without fsdp.
        flags: Others, of all hosts.
        flags_of_last: Others, of the last host only.
    """

    def __init__(
        self,
        workdir: Path,
        environment: Mapping[str, str],
        mesh: tuple[int, int, int],
        count: int = 1,
        *flags: str,
        flags_of_last: tuple[str, ...] = (),
    ) -> None:
        self.workdir = workdir
        devices = mesh[0] * mesh[1] * mesh[2] // count
        one_host = f"--xla_force_host_platform_device_count={devices}"
        variables = {**environment, "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
        variables["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {one_host}"
        rollout = (mesh[0] * mesh[1], 1, mesh[2]) if count > 1 else mesh
        command = [
            sys.executable, "-m", "perl_jax.train", "--config=tests/training/hosts_config.py",
            f"--workdir={workdir}", *_sizes("mesh", mesh), *_sizes("rollout.mesh", rollout), *flags,
        ]  # fmt: skip
        self.outputs = [workdir.with_name(f"{workdir.name}.{host}.log") for host in range(count)]
        self.processes = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for host, path in enumerate(self.outputs):
            where = [f"--coordinator=127.0.0.1:{port}", f"--num_hosts={count}", f"--host={host}"]
            more = flags_of_last if host == count - 1 else ()
            with path.open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        [*command, *(where if count > 1 else ()), *more],
                        cwd=ROOT,
                        env=variables,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

    def finish(self) -> list[str]:
        """Waits until all end with 0; returns what each printed."""
        statuses = self.end()
        assert statuses == [0] * len(statuses), f"exit status {statuses}:\n{self.said()}"
        return self.said()

    def end(self) -> list[int]:
        """Waits until all have ended; returns their exit status."""
        return [process.wait(_DEADLINE_SECONDS) for process in self.processes]

    def said(self) -> list[str]:
        """What each printed."""
        return [path.read_text(errors="replace") for path in self.outputs]

    def until(self, happened: Callable[[], bool]) -> None:
        """Waits until something has happened."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happened():
            assert all(process.poll() is None for process in self.processes), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def signal(self, host: int, number: signal.Signals) -> None:
        """To one of them."""
        os.kill(self.processes[host].pid, number)


def _sizes(field: str, mesh: tuple[int, int, int]) -> list[str]:
    axes = zip(("data", "fsdp", "tensor"), mesh, strict=True)
    return [f"--config.{field}.{name}={size}" for name, size in axes]


def rows(workdir: Path, file: str) -> list[dict]:
    """Of a JSONL file of a run."""
    text = (workdir / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def furthest_metric(one: Path, other: Path) -> tuple[float, str]:
    """By how much a metric of two runs differs at most, and where; times are not compared."""
    furthest = (0.0, "none")
    for row, of_other in zip(rows(one, "metrics.jsonl"), rows(other, "metrics.jsonl"), strict=True):
        names = {name for name in row if not name.startswith("perf/")}
        assert names == {name for name in of_other if not name.startswith("perf/")}
        for name in names:
            gap = abs(row[name] - of_other[name]) / max(1.0, abs(row[name]))
            furthest = max(furthest, (gap, f"step {row['step']}: {name}"))
    return furthest
