"""Servers of tests, each in a process of its own on this machine."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens to."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[str]:
    """Runs a module that serves HTTP while the block runs; yields its address.

    Args:
        module: Is run as ``python -m module``.
        arguments: Of the module; ``PORT`` in them stands for the port.
    """
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    given = [argument.replace("PORT", str(port)) for argument in arguments]
    # Its complaints about clients that hang up are none of the test's.
    with subprocess.Popen(
        [sys.executable, "-m", module, *given],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not _answers(address):
                assert process.poll() is None, f"{module} ended before it answered"
                time.sleep(0.05)
            yield address
        finally:
            process.kill()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True
