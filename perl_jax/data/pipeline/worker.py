"""The program of a worker process: it answers row numbers until its connection closes.

It is started, not forked: it inherits no threads and no device, and does not rerun the script.
"""

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any


def main(descriptor: int) -> None:
    """Reads a pickled function, then numbers, and answers each with the function's result."""
    # The reader handles Ctrl-C and the end of the job: it may still need rows to save its state.
    # This process ends when the connection closes.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        try:
            _serve(connection)
        except (EOFError, ConnectionError):
            return


def _serve(connection: Connection) -> None:
    payload = connection.recv_bytes()
    failure = None
    try:
        read = pickle.loads(payload)
    except Exception as error:
        failure = _failure(error)
    while True:
        number = connection.recv()
        answer = _answer(read, number) if failure is None else failure
        answer.send(connection)


def _answer(read: Callable[[int], Any], number: int) -> "Answer":
    try:
        return Answer.of(("row", read(number)))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> "Answer":
    # The last line of a traceback may be a note, such as the one that JAX adds to its errors.
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    return Answer.of(("failed", (cause, "".join(traceback.format_exception(error)))))


class Answer:
    """A pickled value, with its arrays apart, to save copies: three images are 18 MB."""

    def __init__(self, body: bytes, arrays: Sequence[memoryview]):
        self._body, self._arrays = body, arrays

    @classmethod
    def of(cls, value: Any) -> "Answer":
        """Pickles a value."""
        arrays: list[pickle.PickleBuffer] = []
        body = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
        return cls(body, [array.raw() for array in arrays])

    def send(self, connection: Connection) -> None:
        """Writes the value to a connection."""
        connection.send((self._body, [array.nbytes for array in self._arrays]))
        for array in self._arrays:
            sent = 0
            while sent < array.nbytes:
                sent += os.write(connection.fileno(), array[sent:])

    @staticmethod
    def receive(connection: Connection) -> "Answer":
        """Reads a value; raises EOFError or OSError if the other end has closed."""
        body, sizes = connection.recv()
        arrays = [memoryview(bytearray(size)) for size in sizes]
        for array in arrays:
            received = 0
            while received < array.nbytes:
                count = os.readv(connection.fileno(), [array[received:]])
                if not count:
                    raise EOFError
                received += count
        return Answer(body, arrays)

    def value(self) -> Any:
        """Unpickles the value."""
        return pickle.loads(self._body, buffers=self._arrays)


if __name__ == "__main__":
    main(int(sys.argv[1]))
