"""The program that runs reward functions of the user, in a process that can be killed.

`function_process.py` starts it. This process holds nothing of the user: it forks a worker that
imports and calls the functions, and kills it, with the processes that it has started, when the
program that asks ends or wants it to.

The worker reads requests, a line of JSON and a pickle, and answers with a line of JSON.
"""

import contextlib
import ctypes
import json
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

_MAX_MESSAGE = 500


def main() -> None:
    """Serves on the sockets whose numbers are arguments; the last one names the functions."""
    # Ctrl-C and the end of a job, of which a scheduler tells every process, are the trainer's to
    # answer: it may need rewards to finish its step. It ends this program by closing the socket.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    control, data = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for connection in (control, data):
        # Programs that a function starts must not keep them open.
        connection.set_inheritable(False)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    worker = os.fork()
    if not worker:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (control, woken, wake):
            connection.close()
        _work(data, json.loads(sys.argv[3]))
    with contextlib.suppress(OSError):
        # In both processes, as either may come first.
        os.setpgid(worker, worker)
    data.close()
    status = _wait(worker, control, woken)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    if status is None:
        _, status = os.waitpid(worker, 0)
    with contextlib.suppress(OSError):
        control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _wait(worker: int, control: socket.socket, woken: socket.socket) -> int | None:
    """Waits until the worker ends, and returns its status, or until ``control`` closes."""
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if control in ready:
            return None
        woken.recv(64)
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return status


def _work(data: socket.socket, paths: Mapping[str, str]) -> None:
    """Runs the worker, and never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        if sys.platform == "linux":
            # If the process that forked it is killed, nothing else could end this one.
            set_parent_death_signal = 1
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        _serve(data, paths)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve(data: socket.socket, paths: Mapping[str, str]) -> None:
    from perl_jax.rewards.functions import RewardFunction, load_reward

    functions: dict[str, RewardFunction] = {}
    for name, path in paths.items():
        try:
            functions[name] = load_reward(path)
            _tell(data, columns=functions[name].columns)
        except (ImportError, ValueError) as error:
            traceback.print_exc()
            _tell(data, problem=str(error)[:_MAX_MESSAGE])
    requests = data.makefile("rb")
    for line in requests:
        request = json.loads(line)
        _tell(data, **_reply(functions[request["name"]], requests, request["size"]))


def _reply(function: Any, requests: BinaryIO, size: int) -> dict[str, Any]:
    content = requests.read(size)
    try:
        columns = pickle.loads(content)
    except Exception as error:
        return {"rewards": [], "faults": [["unpicklable", repr(error)[:_MAX_MESSAGE], None]]}
    rewards, faults = function.returned(columns)
    for fault in faults:
        if fault.cause is not None:
            traceback.print_exception(fault.cause)
    told = [[fault.reason, fault.message[:_MAX_MESSAGE], fault.row] for fault in faults]
    return {"rewards": rewards.tolist(), "faults": told}


def _tell(data: socket.socket, **reply: Any) -> None:
    data.sendall(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
