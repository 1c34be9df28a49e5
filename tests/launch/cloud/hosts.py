"""The hosts of a TPU VM: folders with a home, processes, and an environment of their own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

IMAGE = Path(__file__).parent / "image"
# PCI numbers of Google and of a chip of TPU v5e, by which JAX knows that this is a TPU VM.
_VENDOR, _DEVICE = "0x1ae0", "0x0063"
CHIPS = 4


@dataclass(frozen=True)
class Host:
    """One host of a VM.

    Attributes:
        folder: All that is of the host.
        number: Of this host among those of its VM.
        variables: The environment besides what every process has.
    """

    folder: Path
    number: int
    variables: dict[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def _gone(self) -> Path:
        """Where the folder is while it is taken away."""
        return self.folder.with_name(f"gone-{self.number}")

    def make(self) -> None:
        """A new disk, and chips on the bus; waits for one of that name that is being taken away."""
        deadline = time.monotonic() + 60
        while self.folder.exists() or self._gone.exists():
            assert time.monotonic() < deadline, f"{self.folder} is still there"
            time.sleep(0.02)
        self.home.mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        for chip in range(CHIPS):
            place = self.folder / "pci" / f"0000:00:{4 + chip:02x}.0"
            place.mkdir(parents=True)
            (place / "vendor").write_text(f"{_VENDOR}\n")
            (place / "device").write_text(f"{_DEVICE}\n")

    def environment(self) -> dict[str, str]:
        """Of a session on the host; nothing of the process that asks for it."""
        return {
            "HOME": str(self.home),
            "USER": "tpu",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": f"{IMAGE / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": str(self.folder / "tmp"),
            "STAND_IN_IMAGE": str(IMAGE),
            "STAND_IN_PCI": str(self.folder / "pci"),
            **self.variables,
        }

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Starts a command as a session of ssh does, its output in pipes."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def processes(self, command: str = "") -> list[int]:
        """The numbers of the processes on the host whose command lines start so."""
        return [number for number, line in _with_home(str(self.home)) if line.startswith(command)]

    def end(self, grace: float = 0.0) -> None:
        """Ends all processes: SIGTERM, so many seconds, SIGKILL."""
        if grace:
            self.signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.02)
        deadline = time.monotonic() + 30
        while self.processes():
            assert time.monotonic() < deadline, f"{self.folder}: {self.processes()} do not end"
            self.signal(signal.SIGKILL)
            time.sleep(0.01)

    def wipe(self) -> None:
        """Takes the disk away, with whatever was started on the host meanwhile."""
        gone = self._gone
        try:
            self.folder.rename(gone)
        except FileNotFoundError:  # a VM may be preempted and deleted at once
            return
        self.end()
        shutil.rmtree(gone)

    def signal(self, number: signal.Signals) -> None:
        """To all processes."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _with_home(home: str) -> Iterator[tuple[int, str]]:
    """Processes that were started with this home directory, and their command lines."""
    wanted = f"HOME={home}".encode()
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        # It has ended meanwhile, or belongs to somebody else.
        with suppress(OSError):
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                line = (place / "cmdline").read_bytes().decode(errors="replace")
                yield int(place.name), line.replace("\0", " ")
