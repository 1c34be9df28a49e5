"""Worker processes that can be killed: one item each at a time, a deadline, a memory limit.

A stock pool loses a killed worker's item for ever (``multiprocessing.Pool``) or fails every pending
one (``ProcessPoolExecutor``), and its processes rerun the user's main module. Here a separate
program (``symbolic.py``) is started and forks workers of itself. Neither this process, which may
hold threads and a device, nor the user's script is ever forked. Workers send JSON, not pickles.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perl_jax.files import parse_json

_PROGRAM = Path(__file__).parent / "symbolic.py"
# The only variables that are passed on: others may hold secrets.
_ENVIRONMENT = ("HOME", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "PYTHONHOME")
_START_SECONDS = 120.0
_FORK_SECONDS = 30.0
# SymPy's caches grow; a fresh worker costs about as much as ten items.
_ITEMS_PER_WORKER = 1000
_MAX_REPLY = 65536


class GradingError(RuntimeError):
    """Grading itself is broken: workers cannot start, or always fail."""


@dataclass(frozen=True)
class Task:
    """Pairs of LaTeX texts ``(answer, truth)``, all to be equal within tolerances."""

    pairs: tuple[tuple[str, str], ...]
    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True)
class Result:
    """The result of a task.

    ``verdict`` is one of ``symbolic.compare``'s, or the reason why there is none: ``deadline``,
    ``memory``, ``crashed``, ``undecided`` (the library raised) or ``failed`` (our program raised).
    """

    verdict: str
    message: str = ""


class _Worker:
    """This process's end of one worker."""

    def __init__(self, connection: socket.socket, process_id: int) -> None:
        self.connection = connection
        self.process_id = process_id
        self.task = -1
        self.expires = 0.0
        self.items = 0

    def send(self, index: int, task: Task, deadline: float) -> None:
        request = {"pairs": task.pairs, "absolute": task.absolute, "relative": task.relative}
        self.task, self.items = index, self.items + 1
        self.expires = time.monotonic() + deadline
        self.connection.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> Result:
        """Reads one reply; raises OSError or ValueError if it is not one."""
        return Result(**parse_json(_read_line(self.connection)))


class WorkerPool:
    """Grades tasks in isolated processes, losing only those that miss their deadline or die.

    A task whose worker dies is tried once more: who killed the worker may not have meant the task.

    Any thread may use it, but only one at a time.

    Args:
        num_workers: Tasks that are graded at the same time.
        deadline: Seconds for one task.
        memory_bytes: Address space of one worker.

    Raises:
        GradingError: Workers cannot start; names the cause.
    """

    def __init__(self, num_workers: int, deadline: float, memory_bytes: int) -> None:
        self._num_workers = num_workers
        self._deadline = deadline
        self._memory_bytes = memory_bytes
        self._workers: list[_Worker] = []
        self._owner = os.getpid()
        self._start()

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """Returns one result for each task, in order."""
        if os.getpid() != self._owner:
            raise GradingError("a grader works only in the process that made it, not in its forks")
        results = self._run_once(tasks)
        crashed = [index for index, result in enumerate(results) if result.verdict == "crashed"]
        again = self._run_once([tasks[index] for index in crashed])
        for index, result in zip(crashed, again, strict=True):
            results[index] = result
        return results

    def _run_once(self, tasks: Sequence[Task]) -> list[Result]:
        results = [Result("failed")] * len(tasks)
        pending = deque(range(len(tasks)))
        try:
            while pending or self._busy():
                self._assign(tasks, pending, results)
                for worker in self._ready():
                    self._collect(worker, results)
                for worker in self._busy():
                    if time.monotonic() >= worker.expires:
                        self._discard(worker, results, Result("deadline"))
        finally:
            # After an exception (Ctrl-C) a late reply must not answer another item.
            for worker in self._busy():
                self._discard(worker, results, Result("crashed"))
        return results

    def close(self) -> None:
        """Ends every process of the pool."""
        self._stop()

    def process_ids(self) -> list[int]:
        """The ids of the workers that are alive now."""
        return [worker.process_id for worker in self._workers]

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task >= 0]

    def _assign(self, tasks: Sequence[Task], pending: deque[int], results: list[Result]) -> None:
        while pending:
            idle = [worker for worker in self._workers if worker.task < 0]
            if not idle and len(self._workers) == self._num_workers:
                return
            worker = idle[0] if idle else self._new_worker()
            index = pending.popleft()
            try:
                worker.send(index, tasks[index], self._deadline)
            except OSError:
                # The worker died idle: its item goes to another one.
                pending.appendleft(index)
                self._discard(worker, results, None)

    def _ready(self) -> list[_Worker]:
        busy = self._busy()
        if not busy:
            return []
        wait = max(0.0, min(worker.expires for worker in busy) - time.monotonic())
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.connection, selectors.EVENT_READ, worker)
            return [key.data for key, _ in selector.select(wait)]

    def _collect(self, worker: _Worker, results: list[Result]) -> None:
        try:
            result = worker.receive()
        except (OSError, ValueError, TypeError):
            self._discard(worker, results, Result("crashed"))
            return
        results[worker.task] = result
        # After reaching the memory limit, its heap and caches stay full for the next item.
        if result.verdict == "memory" or worker.items >= _ITEMS_PER_WORKER:
            self._discard(worker, results, None)
        worker.task = -1

    def _discard(self, worker: _Worker, results: list[Result], result: Result | None) -> None:
        """Kills a worker, and notes the ``result`` of its item, if given."""
        self._workers.remove(worker)
        worker.connection.close()
        index, worker.task = worker.task, -1
        try:
            status = self._ask(b"%d" % worker.process_id)
            ended = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        except (OSError, ValueError):
            # The program is dead or does not answer. Closing the socket ends it and its workers,
            # which are found dead one by one; the next new worker starts it anew.
            self._control.close()
            ended = "gone, and so is the program that forks workers"
        if result is not None:
            crashed = result.verdict == "crashed"
            results[index] = Result("crashed", f"worker {ended}") if crashed else result

    def _new_worker(self) -> _Worker:
        """Forks a worker; restarts the program, once, if it has died."""
        try:
            return self._forked()
        except (OSError, ValueError):
            ended = self._stop.detach()
            if ended is not None:
                process, control, _ = ended[2]
                _end(process, control, [])
            self._start()
        try:
            return self._forked()
        except (OSError, ValueError) as error:
            raise GradingError(f"a grading worker cannot start: {error}") from error

    def _forked(self) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process_id = self._ask(b"fork", theirs.fileno())
            worker = _Worker(ours, process_id)
            ours.settimeout(_FORK_SECONDS)
            worker.receive()
        except BaseException:
            ours.close()
            raise
        self._workers.append(worker)
        return worker

    def _ask(self, message: bytes, *descriptors: int) -> int:
        if descriptors:
            socket.send_fds(self._control, [message], list(descriptors))
        else:
            self._control.sendall(message)
        return int(_read_line(self._control))

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # The program imports what this process can, and sets hash alike in every run.
        paths = [str(Path(path).absolute()) for path in sys.path]
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
        arguments = [sys.executable, "-P", str(_PROGRAM), str(theirs.fileno())]
        with theirs:
            try:
                process = subprocess.Popen(
                    [*arguments, str(self._memory_bytes)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C is for this process, which then ends the others.
                    start_new_session=True,
                )
            except OSError as error:
                self._control.close()
                raise GradingError(f"symbolic grading cannot start {arguments}: {error}") from error
        # Runs without close() too: at the end of this object or of this process.
        self._stop = weakref.finalize(self, _end, process, self._control, self._workers)
        self._await_start()

    def _await_start(self) -> None:
        self._control.settimeout(_START_SECONDS)
        try:
            status = str(parse_json(_read_line(self._control))["status"])
        except (OSError, ValueError) as error:
            status = f"{sys.executable} {_PROGRAM} ended at once ({error})"
        if status != "ready":
            self._stop()
            raise GradingError(f"symbolic grading cannot start: {status}")
        self._control.settimeout(_FORK_SECONDS)


def _end(process: subprocess.Popen[bytes], control: socket.socket, workers: list[_Worker]) -> None:
    """Closes the control socket, so that the program kills its workers and ends."""
    control.close()
    for worker in workers:
        worker.connection.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = connection.recv(_MAX_REPLY)
        if not chunk or len(line) > _MAX_REPLY:
            raise ConnectionError("the process is gone" if not chunk else "the reply is too long")
        line += chunk
    return bytes(line)
