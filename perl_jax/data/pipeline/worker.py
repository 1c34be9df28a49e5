"""The program of a worker process: it answers numbers with rows until its connection closes.

It is started by itself, not forked, so that it holds neither threads nor a device of the process
that reads, and does not run that process's script again.
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
        answer = Answer.of(("failed", failure)) if failure else _answer(read, number)
        answer.send(connection)


def _answer(read: Callable[[int], Any], number: int) -> "Answer":
    try:
        return Answer.of(("row", read(number)))
    except Exception:
        return Answer.of(("failed", traceback.format_exc()))


class Answer:
    """A pickled value, its arrays apart from it.

    A row of three images is 18 MB: every copy of it that is saved is time for another row.
    """

    def __init__(self, body: bytes, arrays: Sequence[memoryview]):
        self._body = body
        self._arrays = arrays

    @classmethod
    def of(cls, value: Any) -> "Answer":
        """Pickles a value."""
        arrays: list[pickle.PickleBuffer] = []
        body = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
        return cls(body, [array.raw() for array in arrays])

    def send(self, connection: Connection) -> None:
        """Writes it all."""
        connection.send((self._body, [array.nbytes for array in self._arrays]))
        for array in self._arrays:
            sent = 0
            while sent < array.nbytes:
                sent += os.write(connection.fileno(), array[sent:])

    @staticmethod
    def receive(connection: Connection) -> "Answer":
        """Reads it all.

        Raises:
            EOFError: The other end closed before.
            OSError: As above.
        """
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
        """The value."""
        return pickle.loads(self._body, buffers=self._arrays)


if __name__ == "__main__":
    main(int(sys.argv[1]))
