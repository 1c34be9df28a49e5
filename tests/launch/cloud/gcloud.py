"""Answers as ``gcloud compute tpus`` does, for VMs of the cloud in ``$STAND_IN_CLOUD``."""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.launch.cloud import nodes
from tests.launch.cloud.hosts import Host
from tests.launch.cloud.records import PROJECT, ZONE, Records

CLOUD = Records(Path(os.environ["STAND_IN_CLOUD"]))
TYPES = ("v5litepod-16", "v6e-16")
# Of a connection that breaks; the real one tries ten times, five seconds apart.
TRIES, APART = 3, 0.1
# The status of ssh for troubles of its own.
BROKEN = 255

# By kind and action: the flags, of which those with a * must be given.
FLAGS = {
    "tpu-vm describe": ("*format",),
    "tpu-vm create": ("*accelerator-type", "*version", "spot", "network", "internal-ips"),
    "tpu-vm delete": (),
    "tpu-vm start": (),
    "tpu-vm ssh": ("*worker", "*command", "ssh-flag"),
    "tpu-vm scp": ("*worker",),
    "queued-resources describe": ("*format",),
    "queued-resources create": (
        "*node-id", "*accelerator-type", "*runtime-version", "spot", "network", "internal-ips"
    ),
    "queued-resources delete": ("force",),
}  # fmt: skip
FORMATS = {"tpu-vm": "value(state)", "queued-resources": "value(state.state)"}


def main(words: list[str]) -> None:
    # In the background of a script, SIGINT would be ignored; the real one listens to it.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    with (CLOUD.folder / "calls").open("a") as calls:
        calls.write(shlex.join(words) + "\n")
    if words[:2] != ["compute", "tpus"] or " ".join(words[2:4]) not in FLAGS:
        fail(f"Invalid choice: {words[:4]}", status=2)
    kind, action = words[2:4]
    flags = flags_of(f"{kind} {action}", words[4:])
    names = [word for word in words[4:] if not word.startswith("--")]
    if "quiet" not in flags:
        fail("the question would wait for an answer")
    if flags.get("project", PROJECT) != PROJECT:
        fail(f"PERMISSION_DENIED: no project {flags['project']}")
    if flags.get("zone") != ZONE:
        fail(f"INVALID_ARGUMENT: no zone {flags.get('zone')}")
    if action == "describe" and flags["format"] != FORMATS[kind]:
        fail(f"expected --format={FORMATS[kind]}")
    actions: dict[str, Callable[[list[str], dict[str, str]], None]] = {
        "describe": partial(describe, kind),
        "create": partial(create, kind),
        "delete": partial(delete, kind),
        "start": start,
        "ssh": ssh,
        "scp": scp,
    }
    actions[action](names, flags)


def flags_of(command: str, words: list[str]) -> dict[str, str]:
    """The flags by name; ends with 2 unless they are those of the command."""
    pairs = [word[2:].partition("=")[::2] for word in words if word.startswith("--")]
    known = [name.lstrip("*") for name in (*FLAGS[command], "zone", "project", "quiet")]
    given = dict(pairs)
    unknown = given.keys() - set(known)
    missing = {name[1:] for name in FLAGS[command] if name[0] == "*"} - given.keys()
    if unknown or missing:
        fail(f"unrecognized arguments: {unknown}; missing: {missing}", status=2)
    return given


def fail(message: str, status: int = 1) -> NoReturn:
    print(f"ERROR: (gcloud.compute.tpus) {message}", file=sys.stderr)
    sys.exit(status)


def not_found(name: str) -> NoReturn:
    fail(f"NOT_FOUND: Resource 'projects/{PROJECT}/locations/{ZONE}/{name}' was not found")


def take_message(name: str) -> None:
    """Fails with the first of the messages that are to come."""
    with CLOUD.changed() as records:
        message = records[name].pop(0) if records[name] else None
    if message:
        fail(message)


def describe(kind: str, names: list[str], flags: dict[str, str]) -> None:
    take_message("outages")
    if kind == "queued-resources":
        state = nodes.look_at_request(CLOUD, names[0])
    else:
        node = CLOUD.read()["nodes"].get(names[0])
        state = node and node["state"]
    if state is None:
        not_found(names[0])
    print(state)


def create(kind: str, names: list[str], flags: dict[str, str]) -> None:
    (name,) = names
    take_message("refusals")
    if flags["accelerator-type"] not in TYPES:
        fail(f"INVALID_ARGUMENT: no accelerator type {flags['accelerator-type']}")
    asked = "requests" if kind == "queued-resources" else "nodes"
    if name in CLOUD.read()[asked]:
        fail(f"ALREADY_EXISTS: {name}")
    if asked == "requests":
        nodes.ask_for(CLOUD, name, flags["node-id"])
        return
    if CLOUD.take("no_capacity"):
        fail(f'{{"code": 8, "message": "There is no more capacity in the zone \\"{ZONE}\\""}}')
    with CLOUD.changed() as records:
        records["nodes"][name] = {"state": "CREATING", "request": None}
        count = records["hosts"]
    nodes.boot(CLOUD.folder, name, count)
    with CLOUD.changed() as records:
        records["nodes"][name]["state"] = "READY"


def delete(kind: str, names: list[str], flags: dict[str, str]) -> None:
    (name,) = names
    asked = "requests" if kind == "queued-resources" else "nodes"
    found = CLOUD.read()[asked].get(name)
    if found is None:
        not_found(name)
    if asked == "nodes":
        if found["request"]:
            fail(f"FAILED_PRECONDITION: {name} belongs to a queued resource")
        nodes.delete(CLOUD, name)
        return
    if found["state"] not in ("SUSPENDED", "FAILED") and "force" not in flags:
        fail(f"FAILED_PRECONDITION: {name} is {found['state']}")
    nodes.delete_request(CLOUD, name)


def start(names: list[str], flags: dict[str, str]) -> None:
    fail("FAILED_PRECONDITION: nothing here is ever stopped")


def reachable(name: str) -> list[Host]:
    """The hosts of a VM that takes connections."""
    node = CLOUD.read()["nodes"].get(name)
    if node is None:
        not_found(name)
    if node["state"] != "READY":
        fail(f"the TPU is in state {node['state']} and cannot be used")
    return nodes.hosts_of(CLOUD.folder, name)


def scp(names: list[str], flags: dict[str, str]) -> None:
    source, target = names
    name, _, place = target.partition(":")
    hosts = reachable(name)
    if len(hosts) > 1 and not CLOUD.read()["key_in_agent"]:
        fail("SSH Key is not present in the SSH agent: ssh-add ~/.ssh/google_compute_engine")
    for host in hosts:
        shutil.copy(source, host.home / place)


def ssh(names: list[str], flags: dict[str, str]) -> None:
    """Runs a command on all hosts at once; ends with the status of the first that failed."""
    hosts = reachable(names[0])
    statuses = [0] * len(hosts)

    def run(host: Host) -> None:
        statuses[host.number] = attempt(host, flags["command"])

    threads = [threading.Thread(target=run, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(next((status for status in statuses if status), 0))


def attempt(host: Host, command: str) -> int:
    """Runs a command on a host; starts it again if the connection breaks."""
    for _ in range(TRIES):
        status = BROKEN if CLOUD.take("unreachable") else connected(host, command)
        if status != BROKEN:
            if status:
                print(f"##### worker {host.number}: exit status {status}", file=sys.stderr)
            return status
        print(f"Retrying: SSH command error on worker {host.number}", file=sys.stderr)
        time.sleep(APART)
    return BROKEN


def connected(host: Host, command: str) -> int:
    """Runs a command on a host until it ends, or the connection or the VM does."""
    try:
        process = host.start(command)
    except FileNotFoundError:  # the disk is gone
        return BROKEN
    connection = threading.Event()
    connection.set()
    pipes = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    readers = [threading.Thread(target=relay, args=(*pair, connection)) for pair in pipes]
    for reader in readers:
        reader.start()
    status = wait(process, command)
    if status is None:
        # What runs there goes on, and fails when it next writes to the connection.
        connection.clear()
    for reader in readers:
        reader.join()
    return BROKEN if status is None else status


def relay(pipe, to, connection: threading.Event) -> None:
    """Shows what comes out of a pipe, until its end or that of the connection."""
    while connection.is_set():
        if select.select([pipe], [], [], 0.02)[0]:
            if not (data := pipe.read1()):
                break
            to.buffer.write(data)
            to.flush()
    pipe.close()


def wait(process: subprocess.Popen, command: str) -> int | None:
    """The status of a command; None if the connection ends before it."""
    while process.poll() is None:
        if " follow " in command and CLOUD.take("broken"):
            return None
        time.sleep(0.05)
    # ssh tells of a signal as of a broken connection.
    return process.returncode if process.returncode >= 0 else None


main(sys.argv[1:])
