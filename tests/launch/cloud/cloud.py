"""The cloud as a test sees it: a laptop with launch/tpu_pod.sh, and all that may go wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax

from tests.launch import story
from tests.launch.cloud import nodes
from tests.launch.cloud.hosts import IMAGE, Host
from tests.launch.cloud.metadata import metadata_servers
from tests.launch.cloud.records import Records
from tests.servers import free_ports

ROOT = Path(__file__).parents[3]
_DEADLINE_SECONDS = 600.0


class Launch:
    """A launcher that was started in a terminal of its own; what it shows is in `output`."""

    def __init__(self, command: list[str], environment: Mapping[str, str], output: Path) -> None:
        self._output = output
        with output.open("w") as to:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=to, stderr=to, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to all of its foreground processes."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        """The window is closed: no process of the launcher is left."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def until(self, happened: Callable[[], object], *, every: float = 0.1) -> None:
        """Looks every so many seconds whether something has happened, while the launcher runs."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happened():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(every)

    def until_shown(self, text: str) -> None:
        """Waits until the launcher shows a text."""
        self.until(lambda: text in self.output)

    def end(self, status: int = 0) -> str:
        """Waits for an end with this status; returns all that was shown."""
        ended = self.process.wait(_DEADLINE_SECONDS)
        assert ended == status, f"exit status {ended}:\n{self.output}"
        return self.output


class Cloud:
    """A cloud in a folder, and the laptop.

    Args:
        folder: Everything lies in it.
        variables: Where the bucket is: of the environment of the laptop and of all hosts.
        metadata: The addresses of the hosts' metadata servers.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], metadata: list[str]) -> None:
        self.folder = folder
        self.laptop = folder / "laptop"
        self.laptop.mkdir(parents=True)
        self.records = Records(folder)
        given = {"common": _variables_of_hosts() | dict(variables), "metadata": metadata}
        nodes.variables_file(folder).write_text(json.dumps(given))
        self.gcloud = Path(__file__).parent / "bin" / "gcloud"
        self.image = IMAGE
        self.environment = {
            **variables,
            # perl_jax is installed on the laptop.
            "PATH": f"{self.gcloud.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.laptop),
            "TMPDIR": str(self.laptop),
            "STAND_IN_CLOUD": str(folder),
            "STAND_IN_PYTHON": sys.executable,
        }
        self._launches: list[Launch] = []

    def launch(self, *flags: str) -> Launch:
        """Starts launch/tpu_pod.sh."""
        output = self.laptop / f"terminal-{len(self._launches)}.txt"
        command = [str(ROOT / "launch" / "tpu_pod.sh"), *flags]
        self._launches.append(Launch(command, self.environment, output))
        return self._launches[-1]

    def set(self, **changes: object) -> None:
        """Changes records: how many hosts there are, and the troubles to come."""
        with self.records.changed() as records:
            assert changes.keys() <= records.keys()
            records.update(changes)

    def calls(self, *words: str) -> list[str]:
        """What was asked of gcloud, of those calls that hold all of these words."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if all(word in line for word in words)]

    def hosts(self, name: str) -> list[Host]:
        """The hosts of a VM."""
        return nodes.hosts_of(self.folder, name)

    def preempt(self, name: str, *, grace: float = 0.5, late: bool = False) -> None:
        """Takes a VM away; its processes get so many seconds between SIGTERM and SIGKILL.

        With ``late``, its state says so when they have ended. A launcher that looks more often than
        that takes it up again meanwhile.
        """
        nodes.preempt(self.records, name, grace, late)

    def signal(self, name: str, number: signal.Signals) -> None:
        """To all processes on all hosts of a VM."""
        for host in self.hosts(name):
            host.signal(number)

    def reboot(self, name: str, number: int) -> None:
        """Ends all processes of a host; its disk stays."""
        self.hosts(name)[number].end()

    def kill_program(self, name: str, number: int) -> None:
        """Kills the program on a host, as the kernel does when memory is short."""
        (process,) = self.hosts(name)[number].processes(".venv/bin/python -m perl_jax.train")
        os.kill(process, signal.SIGKILL)

    def close(self) -> None:
        """Ends every process that was started here."""
        for launch in self._launches:
            if launch.process.poll() is None:
                launch.close()
        for host in nodes.all_hosts(self.folder):
            host.end()


def _variables_of_hosts() -> dict[str, str]:
    """Of every host: it has a CPU device for its chips, and the tests' compiled programs."""
    return story.variables() | {
        "STAND_IN_PYTHON": sys.executable,
        "STAND_IN_PACKAGES": str(Path(jax.__file__).parents[1]),
        "JAX_COORDINATOR_PORT": str(*free_ports(1)),
        "JAX_FORCE_TPU_INIT": "1",
    }


@contextmanager
def cloud_in(folder: Path, variables: Mapping[str, str], *, hosts: int = 2) -> Iterator[Cloud]:
    """A cloud whose VMs have so many hosts; ends all of its processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with metadata_servers(hosts) as addresses:
        cloud = Cloud(folder, variables, addresses)
        cloud.set(hosts=hosts)
        try:
            yield cloud
        finally:
            cloud.close()
