"""This process's end of the process that runs reward functions of the user."""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perl_jax.files import parse_json

_PROGRAM = Path(__file__).parent / "function_program.py"
# Variables by which a library would join the hosts of the run, or take its accelerators.
_KEPT_BACK = re.compile(
    r"(JAX|XLA|LIBTPU|TPU|CLOUD_TPU|MEGASCALE|PJRT|SLURM|OMPI|PMIX?|MASTER)_.*"
    r"|(LOCAL_)?RANK|(LOCAL_)?WORLD_SIZE"
)
# A module may load a model when it is imported.
_START_SECONDS = 600.0
_END_SECONDS = 10.0


class ProcessLost(Exception):
    """The process gave no answer, and was killed; ``reason`` is `deadline` or `crashed`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FunctionProcess:
    """A process that holds functions; it is killed at the first answer that is missing.

    Attributes:
        columns: What each function takes, by its name.
        problems: Why the other functions cannot be called, by their names.

    Args:
        paths: The functions: name -> ``package.module:function``.
        log: The file to which the process's output is appended; None: it is dropped.
    """

    def __init__(self, paths: Mapping[str, str], log: Path | None) -> None:
        self.columns: dict[str, list[str]] = {}
        self.problems: dict[str, str] = {}
        self._unread = b""
        self._control, control = socket.socketpair()
        self._data, data = socket.socketpair()
        given = [str(control.fileno()), str(data.fileno()), json.dumps(dict(paths))]
        with control, data, open(os.devnull if log is None else log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), *given],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[control.fileno(), data.fileno()],
                # Ctrl-C is for this process, which then ends the other.
                start_new_session=True,
            )
        # Runs without end() too: at the end of this object or of this process.
        self.end = weakref.finalize(self, _end, process, self._control, self._data)
        try:
            self._load(paths)
        except BaseException:
            self.end()
            raise

    def _load(self, paths: Mapping[str, str]) -> None:
        """Hears of every function, in their order, whether it can be called."""
        expires = time.monotonic() + _START_SECONDS
        for name, path in paths.items():
            try:
                told = self._receive(expires)
            except ProcessLost as lost:
                self.problems[name] = f"reward {path}: cannot import it: {lost}"
                return
            if "problem" in told:
                self.problems[name] = told["problem"]
            else:
                self.columns[name] = told["columns"]

    @property
    def is_alive(self) -> bool:
        """Whether the process can be asked; it says nothing by itself."""
        return self.end.alive and not select.select([self._data], [], [], 0)[0]

    def kill(self) -> None:
        """Kills the process, from any thread: whoever waits for an answer hears that it ended."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

    def ask(self, name: str, content: bytes, deadline: float) -> dict[str, Any]:
        """Calls a function with pickled columns, for at most ``deadline`` seconds.

        Raises:
            ProcessLost: There was no answer.
        """
        expires = time.monotonic() + deadline
        header = json.dumps({"name": name, "size": len(content)}).encode() + b"\n"
        try:
            self._data.settimeout(deadline)
            self._data.sendall(header + content)
        except TimeoutError:
            raise self._lost("deadline", deadline) from None
        except OSError:
            raise self._lost("crashed", deadline) from None
        except BaseException:
            self.end()
            raise
        return self._receive(expires, deadline)

    def _receive(self, expires: float, deadline: float = _START_SECONDS) -> dict[str, Any]:
        try:
            while b"\n" not in self._unread:
                # An expired timeout of 0 would not wait, and raise another error.
                self._data.settimeout(max(expires - time.monotonic(), 1e-6))
                chunk = self._data.recv(1 << 16)
                if not chunk:
                    raise ConnectionError
                self._unread += chunk
            line, _, self._unread = self._unread.partition(b"\n")
            return dict(parse_json(line))
        except TimeoutError:
            raise self._lost("deadline", deadline) from None
        except (OSError, ValueError):
            raise self._lost("crashed", deadline) from None
        except BaseException:
            # After Ctrl-C a late answer must not be taken for another one.
            self.end()
            raise

    def _lost(self, reason: str, deadline: float) -> ProcessLost:
        """Kills the process."""
        message = f"no answer within {deadline:g} seconds"
        if reason == "crashed":
            message = f"its process ended{self._how()}"
        self.end()
        return ProcessLost(reason, message)

    def _how(self) -> str:
        try:
            self._control.settimeout(_END_SECONDS)
            status = int(self._control.recv(64))
        except (OSError, ValueError):
            return ""
        return f", killed by signal {-status}" if status < 0 else f" with exit status {status}"


def _end(process: subprocess.Popen[bytes], control: socket.socket, data: socket.socket) -> None:
    """Closes the sockets, so that the program kills what it has started, and ends."""
    control.close()
    data.close()
    try:
        process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """The environment of this process, without its part in a run of several hosts."""
    kept = {name: value for name, value in os.environ.items() if not _KEPT_BACK.fullmatch(name)}
    # The program imports what this process can, sets hash alike in every run, and lines that it
    # prints stand in the log at once.
    paths = [str(Path(path).absolute()) for path in sys.path]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return kept | own | {"JAX_PLATFORMS": "cpu"}
