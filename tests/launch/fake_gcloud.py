"""Answers as gcloud does, for a TPU of two hosts that are directories below $FAKE_CLOUD."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

CLOUD = Path(os.environ["FAKE_CLOUD"])
STATE, QUEUE = CLOUD / "state", CLOUD / "queue"
HOSTS = [CLOUD / "hosts" / "0", CLOUD / "hosts" / "1"]


def main(words):
    with (CLOUD / "calls").open("a") as calls:
        calls.write(shlex.join(words) + "\n")
    assert words[:2] == ["compute", "tpus"], words
    kind, action, rest = words[2], words[3], words[4:]
    file = QUEUE if kind == "queued-resources" else STATE
    if action == "describe":
        fields = {"tpu-vm": "value(state)", "queued-resources": "value(state.state)"}
        assert f"--format={fields[kind]}" in rest, rest
        take_trouble("outage")
        if not file.exists():
            fail("ERROR: (gcloud) NOT_FOUND: Resource 'projects/p/.../nodes/x' was not found")
        print(file.read_text().strip())
    elif action == "create":
        create(kind)
    elif action == "delete":
        assert kind == "tpu-vm" or "--force" in rest, rest
        delete()
    elif action == "scp":
        for host in HOSTS:
            shutil.copy(rest[0], host / rest[1].split(":")[1])
    elif action == "ssh":
        (command,) = (word.split("=", 1)[1] for word in rest if word.startswith("--command="))
        sys.exit(ssh(command))
    else:
        fail(f"ERROR: no such command: {words}")


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(1)


def take_trouble(name):
    """Fails with the first line of a file of troubles, which is then taken from it."""
    file = CLOUD / name
    lines = file.read_text().splitlines() if file.exists() else []
    if lines:
        file.write_text("\n".join(lines[1:]))
        fail(f"ERROR: (gcloud.compute.tpus) {lines[0]}")


def create(kind):
    take_trouble("troubles")
    for host in HOSTS:
        host.mkdir(parents=True)
    STATE.write_text(os.environ.get("FAKE_CREATED", "READY"))
    if kind == "queued-resources":
        QUEUE.write_text("ACTIVE")


def delete():
    for pid in CLOUD.glob("hosts/*/perl_jax/runs/*/.launch/pid"):
        # A session of its own, so a group of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)
    for host in HOSTS:
        shutil.rmtree(host, ignore_errors=True)
    for file in (STATE, QUEUE):
        file.unlink(missing_ok=True)


def ssh(command):
    """Runs a command on both hosts; the connection breaks when the TPU is taken away."""
    if not usable():
        return 255
    drop = CLOUD / "drop"
    running = [
        subprocess.Popen(
            ["bash", "-c", command],
            cwd=host,
            env=os.environ | {"HOME": str(host), "TPU_WORKER_ID": host.name},
            start_new_session=True,
        )
        for host in HOSTS
    ]
    while any(process.poll() is None for process in running):
        dropped = " follow " in command and drop.exists()
        if dropped or not usable():
            drop.unlink(missing_ok=True)
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
            return 255
        time.sleep(0.02)
    return next((process.returncode for process in running if process.returncode), 0)


def usable():
    return STATE.exists() and STATE.read_text().strip() == "READY"


main(sys.argv[1:])
