"""Worker processes that read rows, one row at a time each.

Grain's own workers (``mp_prefetch``) share queues. A worker killed in the middle of a row leaves
the reader waiting for ever, and a killed reader leaves its workers behind. Here every worker has
its own connection, so that either side sees at once that the other is gone.
"""

import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import cloudpickle

from perl_jax.data.pipeline.rows import PipelineError
from perl_jax.data.pipeline.worker import Answer
from perl_jax.legible import field_name

_PROGRAM = Path(__file__).parent / "worker.py"
# A process whose connection has closed has ended, or is about to.
_END_SECONDS = 10.0


class RowPool:
    """Calls a function of a number in worker processes; several threads may call it at once.

    Cloudpickle pickles the function, so a script may define it. A worker runs one call at a time.
    `PipelineError` if a worker ends before it has the function.
    """

    def __init__(self, read: Callable[[int], Any], num_workers: int):
        payload = cloudpickle.dumps(read)
        self._workers: list[_RowWorker] = []
        self._idle: queue.SimpleQueue[_RowWorker] = queue.SimpleQueue()
        # Runs without close() too: at the end of this object or of this process.
        self._stop = weakref.finalize(self, _end, self._workers)
        try:
            for _ in range(num_workers):
                self._workers.append(_RowWorker())
            for worker in self._workers:
                worker.start(payload)
                self._idle.put(worker)
        except BaseException:
            self._stop()
            raise

    def __call__(self, number: int) -> Any:
        """Returns the function's result; `PipelineError` if it raises or its worker has ended."""
        worker = self._idle.get()
        try:
            kind, answer = worker.ask(number)
        finally:
            self._idle.put(worker)
        if kind == "failed":
            cause, traceback = answer
            error = PipelineError(
                f"a data worker failed on row {number}: {field_name(cause, 1000)}"
            )
            error.add_note(traceback)
            raise error
        return answer

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The ids of the worker processes."""
        return tuple(worker.process.pid for worker in self._workers)

    def close(self) -> None:
        """Kills all workers at once. Calls that wait for them raise."""
        self._stop()


class _RowWorker:
    """This process's end of one worker."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection, theirs = Pipe()
        # A worker imports what this process can, and never takes an accelerator.
        paths = [str(Path(path).absolute()) for path in sys.path]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), str(theirs.fileno())],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, payload: bytes) -> None:
        try:
            self.connection.send_bytes(payload)
        except OSError as error:
            raise PipelineError(f"a data worker cannot start: it {self._ended()}") from error

    def ask(self, number: int) -> tuple[str, Any]:
        with self.lock:
            try:
                self.connection.send(number)
                answer = Answer.receive(self.connection)
            except (EOFError, OSError) as error:
                raise PipelineError(
                    f"data worker {self.process.pid} {self._ended()} while it had row {number} to "
                    "read"
                ) from error
        return answer.value()

    def _ended(self) -> str:
        try:
            status = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if status >= 0:
            return f"ended with exit status {status}"
        return f"was killed by signal {-status}" + (" (out of memory?)" if status == -9 else "")


def _end(workers: Sequence[_RowWorker]) -> None:
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.wait()
        # A thread that waits for an answer now sees the connection end, and frees the lock.
        with worker.lock:
            worker.connection.close()
