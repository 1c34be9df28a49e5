"""Runs the launch scripts with stand-ins for the clouds and schedulers that they talk to."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKES = Path(__file__).parent / "fakes"


class Machine:
    """A machine with the stand-ins on its PATH; what they did and are told is in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.root = ROOT
        self.directory = directory
        self.processes: list[subprocess.Popen] = []
        self.environment = {
            "PATH": f"{FAKES}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "FAKE_CLOUD": str(directory),
            "REAL_PYTHON": sys.executable,
        }

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [self.root / "launch" / script, *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen) -> subprocess.CompletedProcess:
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.end(self.start(script, *arguments, **environment))

    def run_fake(self, name: str, *arguments: str) -> None:
        """Uses a stand-in as somebody else than the scripts would."""
        subprocess.run([FAKES / name, *arguments], env=self.environment, check=True)

    def plan(self, *lines: str) -> None:
        """What the program does, each time that it is started."""
        (self.directory / "plan").write_text("".join(f"{line}\n" for line in lines))

    def read(self, name: str) -> str:
        file = self.directory / name
        return file.read_text() if file.exists() else ""

    def calls(self, *words: str) -> list[str]:
        """What was asked of clouds and schedulers, of those calls that hold all of these words."""
        lines = self.read("calls").splitlines()
        return [line for line in lines if all(word in line for word in words)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, self.calls()
            time.sleep(0.02)

    def wait_for(self, name: str, text: str) -> None:
        """Waits until a file holds a text."""
        self.wait_until(lambda: text in self.read(name))

    def reap(self, ended: threading.Event) -> None:
        """Clears programs away that ended in the background, at once, as the init of a host does.

        That of a container may take seconds, and as long whoever waits for such a process waits on.
        """
        while not ended.wait(0.02):
            for workdirs in ("*", "hosts/*/perl_jax/runs/*"):
                for file in self.directory.glob(f"{workdirs}/.launch/pid"):
                    with suppress(OSError, ValueError):
                        os.waitpid(int(file.read_text()), os.WNOHANG)


def adopt(orphans: bool) -> None:
    """Whether processes whose parent has ended become those of this process (Linux)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, int(orphans), 0, 0, 0)


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    ended = threading.Event()
    reaper = threading.Thread(target=machine.reap, args=(ended,))
    adopt(orphans=True)
    reaper.start()
    yield machine
    ended.set()
    reaper.join()
    adopt(orphans=False)
    for process in machine.processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
    if (tmp_path / "state").exists():
        # The program is in sessions of its own on the hosts of the TPU.
        machine.run_fake("gcloud", "compute", "tpus", "tpu-vm", "delete", "x")
