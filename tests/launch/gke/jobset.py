"""Stands in for a GKE cluster with JobSet: runs the containers of a manifest on this machine.

A pod is the container's own command in a clean environment: a home and volumes of its own, the
image's folder as the working directory, the variables that Kubernetes and GKE set, and a hosts file
in which the names of the pods lead to this machine. What happens when a pod ends is what the
manifest's policies say, for Jobs of which nothing is tried again (``backoffLimit: 0``).
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DEADLINE_SECONDS = 600.0


def missing() -> str:
    """Why no pod can run here; empty if they can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "a hosts file of its own needs root and unshare"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return "" if tried.returncode == 0 else "unshare --mount is not allowed here"


def as_kubernetes_reads(word: str) -> str:
    """What a container gets for a word of its command: $$ is one $, and $(NAME) is not allowed."""
    assert "$(" not in word.replace("$$", ""), f"a variable in {word!r}"
    return word.replace("$$", "$")


@dataclass
class Pod:
    """One pod: its process, and whether its node is being taken away."""

    index: int
    process: subprocess.Popen
    is_disrupted: bool = False


@dataclass
class JobSet:
    """A JobSet of one Job, as the controllers of JobSet and Job run it.

    Args:
        manifest: The JobSet.
        image: The folder that is the image's working directory.
        directory: Of the pods' files and logs.
        variables: More of the environment of containers: where the bucket is, and such.
    """

    manifest: dict[str, Any]
    image: Path
    directory: Path
    variables: dict[str, str]
    pods: list[Pod] = field(default_factory=list)
    starts: int = 0
    restarts: int = 0
    restarts_towards_max: int = 0

    @property
    def _job(self) -> dict[str, Any]:
        (job,) = self.manifest["spec"]["replicatedJobs"]
        return job["template"]["spec"]

    @property
    def _container(self) -> dict[str, Any]:
        (container,) = self._job["template"]["spec"]["containers"]
        return container

    def end_of_job(self) -> tuple[str, str]:
        """Waits until the Job has ended, and starts it again if the policies say so.

        Returns:
            ``Completed``, ``Failed`` or ``Restarted``, and the message of the Job's failure.
        """
        failure = self._until_job_ends()
        if failure is None:
            return "Completed", ""
        if not self.starts_again(*failure):
            return "Failed", failure[1]
        self.start()
        return "Restarted", failure[1]

    def start(self) -> None:
        """Creates the pods, with new volumes."""
        self.starts += 1
        self.pods = [self._start_pod(index) for index in range(self._job["completions"])]

    def log(self, index: int, start: int) -> str:
        """What a pod has printed; starts count from 1."""
        return (self.directory / f"start{start}-pod{index}.log").read_text(errors="replace")

    def disrupt(self, index: int) -> None:
        """Takes a pod's node away, with notice."""
        self.pods[index].is_disrupted = True
        self._signal(self.pods[index], signal.SIGTERM)

    def _until_job_ends(self) -> tuple[str, str] | None:
        """The reason and message of the Job's failure; None if it has completed."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            statuses = [pod.process.poll() for pod in self.pods]
            failed = [pod for pod in self.pods if pod.process.returncode not in (None, 0)]
            if failed:
                failure = self.failure_of(failed[0])
                self.end()
                return failure
            if None not in statuses:
                return None
            assert time.monotonic() < deadline, self.log(0, self.starts)
            time.sleep(0.05)

    def failure_of(self, pod: Pod) -> tuple[str, str]:
        """The reason and message of the failure of a Job with a pod that has failed."""
        status = pod.process.returncode
        # As of a shell, for those that a signal has ended.
        status = 128 - status if status < 0 else status
        name = f"{self.manifest['metadata']['namespace']}/{self.name(pod.index)}"
        for number, rule in enumerate(self._job["podFailurePolicy"]["rules"]):
            assert rule["action"] == "FailJob"
            at = f"matching FailJob rule at index {number}"
            codes = rule.get("onExitCodes")
            if codes is None:
                (condition,) = rule["onPodConditions"]
                assert condition == {"type": "DisruptionTarget", "status": "True"}
                if pod.is_disrupted:
                    message = f"Pod {name} has condition DisruptionTarget {at}"
                    return "PodFailurePolicy", message
            elif codes["operator"] == "In" and status in codes["values"]:
                told = f"Container {codes['containerName']} for pod {name} failed with exit code"
                return "PodFailurePolicy", f"{told} {status} {at}"
        assert self._job["backoffLimit"] == 0
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"

    def starts_again(self, reason: str, message: str) -> bool:
        """What the JobSet does after a failure of its Job; counts the restart."""
        policy = self.manifest["spec"]["failurePolicy"]
        action = "RestartJobSet"
        for rule in policy["rules"]:
            patterns = rule.get("onJobFailureMessagePatterns", [".*"])
            if reason in rule.get("onJobFailureReasons", [reason]) and any(
                re.search(pattern, message) for pattern in patterns
            ):
                action = rule["action"]
                break
        if action == "FailJobSet":
            return False
        if action == "RestartJobSet":
            if self.restarts_towards_max >= policy["maxRestarts"]:
                return False
            self.restarts_towards_max += 1
        self.restarts += 1
        return True

    def name(self, index: int) -> str:
        """The host name of a pod, within the JobSet's subdomain."""
        (job,) = self.manifest["spec"]["replicatedJobs"]
        return f"{self.manifest['metadata']['name']}-{job['name']}-0-{index}"

    def _start_pod(self, index: int) -> Pod:
        home = self.directory / f"start{self.starts}-pod{index}"
        names = [self.name(n) for n in range(self._job["completions"])]
        subdomain = self.manifest["metadata"]["name"]
        command = [*self._container["command"], *self._container["args"]]
        environment = {entry["name"]: entry["value"] for entry in self._container["env"]}
        for mount in self._container["volumeMounts"]:
            place = mount["mountPath"]
            if place == "/dev/shm":
                continue
            volume = home / mount["name"]
            volume.mkdir(parents=True)
            # A folder of the pod in the place of what is mounted for it.
            command = [word.replace(place, str(volume)) for word in command]
            environment = {
                name: value.replace(place, str(volume)) for name, value in environment.items()
            }
        command = [as_kubernetes_reads(word) for word in command]
        hosts = home / "hosts"
        full = " ".join(f"{name} {name}.{subdomain}" for name in names)
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()} {full}\n")
        environment |= {
            "HOME": str(home),
            "HOSTNAME": names[index],
            "JOB_COMPLETION_INDEX": str(index),
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
            "TPU_WORKER_ID": str(index),
            "TPU_WORKER_HOSTNAMES": ",".join(f"{name}.{subdomain}" for name in names),
            **self.variables,
        }
        enter = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
        with (self.directory / f"start{self.starts}-pod{index}.log").open("w") as log:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", enter, "sh", *command],
                cwd=self.image,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Pod(index, process)

    def end(self) -> None:
        """Deletes the pods: asks them to end, and kills what is left after the time of grace."""
        for pod in self.pods:
            self._signal(pod, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and any(p.process.poll() is None for p in self.pods):
            time.sleep(0.05)
        for pod in self.pods:
            with suppress(ProcessLookupError):
                os.killpg(pod.process.pid, signal.SIGKILL)
            pod.process.wait()

    def until(self, happened: Callable[[], bool]) -> None:
        """Waits until something has happened, while the pods run."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happened():
            for pod in self.pods:
                assert pod.process.poll() is None, self.log(pod.index, self.starts)
            assert time.monotonic() < deadline, self.log(0, self.starts)
            time.sleep(0.05)

    def _signal(self, pod: Pod, number: signal.Signals) -> None:
        # To the container's first process only.
        if pod.process.poll() is None:
            pod.process.send_signal(number)
