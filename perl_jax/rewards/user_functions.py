"""Reward functions of the user, called in a process that is killed when they fail to answer."""

import logging
import pickle
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from perl_jax.rewards.components import RewardConfig
from perl_jax.rewards.function_process import FunctionProcess, ProcessLost
from perl_jax.rewards.functions import Fault
from perl_jax.rewards.workers import GradingError

logger = logging.getLogger(__name__)

# The share of failures is that of about so many responses, the latest ones ...
_RESPONSES_COUNTED = 1000
# ... and so many calls may fail before it is looked at, as that may be chance.
_FAILURES_TOLERATED = 4


class UserFunctions(AbstractContextManager["UserFunctions"]):
    """Calls reward functions of the user in one process, which holds them between calls.

    The process starts when it is first needed, and again after it was killed. It ends with this
    object's ``with`` block, at ``close()``, or when this process ends, however that happens. It is
    thread-safe.

    Args:
        config: Names the functions, the deadline of a call, and the share of failures that stops.
        log: The file to which everything that the functions print is appended; None: it is dropped.
    """

    def __init__(self, config: RewardConfig, log: Path | None = None) -> None:
        self.paths = dict(config.functions)
        self._deadline = config.function_deadline
        self._max_failed = config.max_failed
        self._log = log
        self._lock = threading.Lock()
        self._process: FunctionProcess | None = None
        self._closed = False
        self._told: set[tuple[str, str]] = set()
        # The numbers of failures and of responses of each call.
        self._calls: dict[str, deque[tuple[int, int]]] = {name: deque() for name in self.paths}

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, also during a call of another thread; may be called twice."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self._lock:
            if self._process is not None:
                self._process.end()
            self._process = None

    def problems(self) -> dict[str, str]:
        """Why functions cannot be called at all, by their names."""
        if not self.paths:
            return {}
        with self._lock:
            return dict(self._started().problems)

    def call(
        self, name: str, columns: Mapping[str, Sequence[Any]]
    ) -> tuple[np.ndarray, list[Fault]]:
        """The rewards of responses, float32, 0 where there is none, and the reasons for that.

        Args:
            name: The function.
            columns: All of `COLUMNS`, plain data that can be pickled.

        Raises:
            GradingError: The function cannot be called at all, or this is closed.
        """
        nothing = np.zeros(len(columns["responses"]), np.float32)
        with self._lock:
            process = self._started()
            if name not in process.columns:
                why = process.problems.get(name, "its process ended while it was imported")
                raise GradingError(f"reward.functions.{name}: {why}")
            try:
                taken = {column: columns[column] for column in process.columns[name]}
                content = pickle.dumps({**taken, "responses": columns["responses"]})
            # An object may raise anything when it is pickled.
            except Exception as error:
                return nothing, [Fault("unpicklable", repr(error))]
            try:
                reply = process.ask(name, content, self._deadline)
            except ProcessLost as lost:
                return nothing, [Fault(lost.reason, str(lost))]
        faults = [Fault(*fault) for fault in reply["faults"]]
        return np.array(reply["rewards"] or nothing, np.float32), faults

    def rewards(
        self, name: str, columns: Mapping[str, Sequence[Any]]
    ) -> tuple[np.ndarray, list[str]]:
        """The rewards of responses, and for each the reason why it has none, or "".

        Tells of each kind of failure once.

        Raises:
            GradingError: The function cannot be called at all, or fails too often.
        """
        rewards, faults = self.call(name, columns)
        reasons = [""] * len(rewards)
        for fault in faults:
            rows = range(len(rewards)) if fault.row is None else [fault.row]
            for row in rows:
                reasons[row] = fault.reason
            if (name, fault.reason) not in self._told:
                self._told.add((name, fault.reason))
                logger.warning(
                    "%s: responses are left out, as their reward failed (%s): %s%s",
                    self._named(name), fault.reason, fault.message, self._see_log(),
                )  # fmt: skip
        self._count(name, sum(map(bool, reasons)), len(reasons), faults)
        return rewards, reasons

    def _count(self, name: str, failed: int, count: int, faults: Sequence[Fault]) -> None:
        calls = self._calls[name]
        calls.append((failed, count))
        while sum(count for _, count in calls) - calls[0][1] >= _RESPONSES_COUNTED:
            calls.popleft()
        failures, asked = (sum(column) for column in zip(*calls, strict=True))
        tolerated = _FAILURES_TOLERATED if self._max_failed else 0
        if (
            failed
            and failures > self._max_failed * asked
            and sum(failed > 0 for failed, _ in calls) > tolerated
        ):
            raise GradingError(
                f"{self._named(name)}: failed for {failures} of the last {asked} responses, more "
                f"than reward.max_failed={self._max_failed:g} allows: "
                f"{faults[-1].message}{self._see_log()}"
            )

    def _named(self, name: str) -> str:
        return f"reward.functions.{name} ({self.paths[name]})"

    def _see_log(self) -> str:
        return "" if self._log is None else f" (its output is in {self._log})"

    def _started(self) -> FunctionProcess:
        if self._closed:
            raise GradingError("reward functions are closed: call them within the `with` block")
        if self._process is not None and not self._process.is_alive:
            self._process.end()
            self._process = None
        if self._process is None:
            self._process = FunctionProcess(self.paths, self._log)
        return self._process
