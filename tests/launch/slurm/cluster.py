"""A real Slurm of several nodes on this machine: its own daemons, ports and directory.

A node is a slurmd with a GPU that is none. The names of the nodes lead to this machine, in a hosts
file that only the slurmds and what they start see. Debian's slurm-wlm allows all of this to root.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.launch.conftest import ROOT
from tests.servers import free_ports

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "setpriv")
_DEADLINE_SECONDS = 600.0


def missing() -> str:
    """Why there can be no Slurm here; empty if there can be one."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm)" if absent else ""


class Cluster:
    """The cluster whose daemons `running_cluster` started.

    Args:
        directory: Of the cluster's files and of the logs of jobs.
        variables: The environment of jobs, besides PATH.
    """

    def __init__(self, directory: Path, variables: dict[str, str]) -> None:
        self.directory = directory
        self.environment = {
            "PATH": os.environ["PATH"],
            "SLURM_CONF": str(directory / "slurm.conf"),
            **variables,
        }

    def call(self, *command: str) -> str:
        """Runs a command of Slurm; returns what it prints."""
        ended = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, (command, ended.stderr)
        return ended.stdout

    def submit(self, *arguments: str, **variables: str) -> str:
        """Submits launch/slurm_gpu.sh from the top of the repository; returns the job's number."""
        shown = [f"--export=ALL{''.join(f',{name}={value}' for name, value in variables.items())}"]
        said = self.call("sbatch", f"--output={self.directory}/%j.log", *shown, *arguments)
        return said.split()[-1]

    def job(self, number: str) -> dict[str, str]:
        """The fields of a job, as ``scontrol show job`` has them."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, number: str) -> str:
        """What the job's script and program have printed."""
        file = self.directory / f"{number}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait(self, number: str, happened: Callable[[], object]) -> None:
        """Waits until something has happened to a job."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happened():
            assert time.monotonic() < deadline, (self.job(number), self.log(number))
            time.sleep(0.2)

    def end(self, number: str) -> dict[str, str]:
        """Waits until a job has ended; returns its fields."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
        self.wait(number, lambda: self.job(number)["JobState"] in over)
        return self.job(number)

    def process(self, number: str, task: int) -> int:
        """The process that trains as a task of a job."""
        wanted = {f"SLURM_JOB_ID={number}", f"SLURM_PROCID={task}"}
        (found,) = (
            process
            for process in self.processes()
            if wanted <= _variables(process) and "perl_jax.train" in _command(process)[:3]
        )
        return found

    def is_on_nodes(self, number: str) -> bool:
        """Whether a daemon of a node still looks after a job."""
        commands = (" ".join(_command(process)) for process in self.processes())
        return any(command.startswith(f"slurmstepd: [{number}.") for command in commands)

    def processes(self) -> Iterator[int]:
        """All that the daemons of this cluster have started, and they themselves."""
        wanted = f"SLURM_CONF={self.environment['SLURM_CONF']}"
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and wanted in _variables(int(entry.name)):
                yield int(entry.name)


def _variables(process: int) -> set[str]:
    with suppress(OSError):
        return set(Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0"))
    return set()


def _command(process: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")
    return []


@contextmanager
def running_cluster(directory: Path, nodes: int, variables: dict[str, str]) -> Iterator[Cluster]:
    """Starts a cluster, and ends all of its processes."""
    cluster = Cluster(directory, variables)
    names = [f"node{number}" for number in range(nodes)]
    _write_configuration(directory, names)
    hosts = f"mount --bind {directory}/hosts /etc/hosts && exec"
    commands = {
        "munged": [
            "munged", "--foreground", "--force", f"--socket={directory}/munge.socket",
            f"--key-file={directory}/munge.key", f"--pid-file={directory}/munge.pid",
            f"--log-file={directory}/munge.log", f"--seed-file={directory}/munge.seed",
        ],
        "slurmctld": ["slurmctld", "-D", "-c"],
        **{
            name: ["unshare", "--mount", "sh", "-c", f"{hosts} slurmd -D -N {name}"]
            for name in names
        },
    }  # fmt: skip
    daemons = []
    try:
        for name, command in commands.items():
            with (directory / f"{name}.out").open("w") as output:
                daemons.append(
                    # A daemon does not outlive tests that were killed.
                    subprocess.Popen(
                        ["setpriv", "--pdeathsig", "KILL", *command],
                        env=cluster.environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            if name == "munged":
                _until((directory / "munge.socket").exists, directory)
        _until(lambda: _idle(cluster) == nodes, directory)
        yield cluster
    finally:
        # Jobs have sessions of their own, and a daemon might start another one meanwhile.
        while left := list(cluster.processes()):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            for daemon in daemons:
                daemon.wait()
            time.sleep(0.05)


def _idle(cluster: Cluster) -> int:
    ended = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--states=idle"],
        env=cluster.environment,
        capture_output=True,
        text=True,
    )
    return len(ended.stdout.splitlines()) if ended.returncode == 0 else 0


def _until(happened: Callable[[], bool], directory: Path) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        said = {file.name: file.read_text(errors="replace") for file in directory.glob("*.out")}
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def _write_configuration(directory: Path, names: list[str]) -> None:
    here = socket.gethostname()
    (directory / "munge.key").write_bytes(os.urandom(128))
    (directory / "munge.key").chmod(0o600)
    (directory / "hosts").write_text(f"127.0.0.1 localhost {here} {' '.join(names)}\n")
    (directory / "gres.conf").write_text(
        "".join(f"NodeName={name} Name=gpu File=/dev/null\n" for name in names)
    )
    for name in ("state", *(f"spool-{name}" for name in names)):
        (directory / name).mkdir()
    controller, *ports = free_ports(1 + len(names))
    nodes = "".join(
        f"NodeName={name} NodeHostname={here} NodeAddr=127.0.0.1 Port={port} Gres=gpu:1\n"
        for name, port in zip(names, ports, strict=True)
    )
    (directory / "slurm.conf").write_text(f"""\
ClusterName=story
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
GresTypes=gpu
ReturnToService=2
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
""")
