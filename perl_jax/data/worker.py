"""The program of a worker process: it answers numbers with rows until its connection closes.

It is started by itself, not forked, so that it holds neither threads nor a device of the process
that reads, and does not run that process's script again.
"""

import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def main(descriptor: int) -> None:
    """Reads a pickled function, then numbers; answers each with what the function gives for it."""
    # Ctrl-C and an end of the job are for the process that reads: it may still need rows to save
    # its state, and ends this one by closing the connection, or by ending itself.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        try:
            _serve(connection)
        except (EOFError, ConnectionError):
            return


def _serve(connection: Connection) -> None:
    payload = connection.recv_bytes()
    failure = ""
    try:
        read = pickle.loads(payload)
    except Exception:
        failure = traceback.format_exc()
    while True:
        number = connection.recv()
        answer = pickle.dumps(("failed", failure)) if failure else _answer(read, number)
        connection.send_bytes(answer)


def _answer(read: Callable[[int], Any], number: int) -> bytes:
    try:
        return pickle.dumps(("row", read(number)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        return pickle.dumps(("failed", traceback.format_exc()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
