"""Reward functions of the user: any Python function, given as ``package.module:function``."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from inspect import Parameter
from numbers import Real
from typing import Any

import numpy as np

from perl_jax.legible import brief, suggestion

POSITIONAL = ("responses", "answers", "metadata")
"""The columns that a function may take by position, whatever it calls them."""
COLUMNS = (*POSITIONAL, "questions", "ids", "orders", "lengths", "groups")
"""What a function may ask for by name: lists with an entry for each response."""

REASONS = {
    "deadline": "it took longer than the deadline, and was killed",
    "crashed": "its process ended",
    "raised": "it raised an exception",
    "count": "it returned another number of values than responses, or no list",
    "no_number": "it returned something else than a finite number",
    "unpicklable": "its arguments cannot be sent to its process",
}
"""The reasons why a function gave no reward, with their meanings."""

_CHOICES = ", ".join(COLUMNS)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Fault:
    """Why a row has no reward.

    Attributes:
        reason: One of `REASONS`.
        message: What happened, for a log.
        row: The row; None: all rows.
        cause: The exception that the function raised.
    """

    reason: str
    message: str
    row: int | None = None
    cause: Exception | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RewardFunction:
    """A function of the user, checked at every call.

    It takes responses, ground truths and metadata by position, or any of `COLUMNS` by name; its
    signature says which. It returns one finite number for each response.
    """

    path: str  # package.module:function, its name in messages
    function: Callable[..., Sequence[float]]

    @cached_property
    def arguments(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns that it takes by position and by name.

        Raises:
            ValueError: It needs a parameter that is none of `COLUMNS`.
        """
        return _arguments(self.path, self.function)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it takes."""
        return (*self.arguments[0], *self.arguments[1])

    def __call__(
        self,
        responses: Sequence[str],
        answers: Sequence[Any],
        metadata: Sequence[Mapping[str, Any]] | None = None,
        **columns: Sequence[Any],
    ) -> np.ndarray:
        """Returns the rewards, float32; ``columns`` are others of `COLUMNS`, as it takes them.

        Raises:
            RuntimeError: The function raised; its exception is the cause.
            ValueError: It returned another number of rewards than rows, or a reward that is not a
                finite number; names the function and the row. Or a column is missing.
        """
        if metadata is None:
            metadata = [{}] * len(responses)
        given = {"responses": responses, "answers": answers, "metadata": metadata, **columns}
        if unknown := [name for name in columns if name not in COLUMNS]:
            raise ValueError(
                f"reward {self.path}: expected columns of {_CHOICES}; got {brief(unknown[0])}"
            )
        if missing := [name for name in self.columns if name not in given]:
            raise ValueError(f"reward {self.path}: it takes {', '.join(missing)}; got none")
        rewards, faults = self.returned(given)
        for fault in faults:
            if fault.cause is not None:
                raise RuntimeError(f"reward {self.path} {fault.message}") from fault.cause
            row = "" if fault.row is None else f", row {fault.row}"
            raise ValueError(f"reward {self.path}{row}: {fault.message}")
        return rewards

    def returned(self, columns: Mapping[str, Sequence[Any]]) -> tuple[np.ndarray, list[Fault]]:
        """The rewards, float32, 0 where there is none, and the reasons for that."""
        positional, named = self.arguments
        count = len(columns["responses"])
        rewards = np.zeros(count, np.float32)
        try:
            values = self.function(
                *(columns[name] for name in positional), **{name: columns[name] for name in named}
            )
            listed = _listed(values)
        except Exception as error:
            return rewards, [Fault("raised", f"raised {brief(error)}", cause=error)]
        if listed is None or len(listed) != count:
            got = type(values).__name__ if listed is None else len(listed)
            return rewards, [Fault("count", f"expected {count} numbers; got {got}")]
        faults = []
        for row, value in enumerate(listed):
            if _is_finite(value):
                rewards[row] = value
            else:
                message = f"expected a finite number; got {_shown(value)}"
                faults.append(Fault("no_number", message, row))
        return rewards, faults


def _is_finite(value: Any) -> bool:
    """Whether it is a number that float32 holds."""
    try:
        # NaN fails this too.
        return isinstance(value, Real) and -_LARGEST <= float(value) <= _LARGEST
    except OverflowError:
        return False


def _listed(values: Any) -> list[Any] | None:
    """The values as a list; None if they have no order or no length."""
    ordered = hasattr(values, "__len__") and not isinstance(values, str | bytes | Mapping | Set)
    return list(values) if ordered else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def load_reward(path: str) -> RewardFunction:
    """Imports the reward function at ``package.module:function``.

    Raises:
        ValueError: The path has another form, the module has no such function, or the function
            needs a parameter that is none of `COLUMNS`.
        ImportError: The module cannot be imported; names the path and the cause.
    """
    module_name, separator, name = path.partition(":")
    if not separator or not module_name or not name.isidentifier():
        raise ValueError(f"reward function: expected 'package.module:function'; got {brief(path)}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ImportError(f"reward {path}: cannot import {module_name}: {brief(error)}") from error
    function = vars(module).get(name)
    if not callable(function):
        hint = suggestion(name, [key for key, value in vars(module).items() if callable(value)])
        raise ValueError(f"reward {path}: {module_name} has no function {name!r}{hint}")
    reward = RewardFunction(path, function)
    # What cannot be called is told now.
    _ = reward.arguments
    return reward


def _arguments(path: str, function: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a function takes by position and by name, from its signature."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # Functions written in C may have no signature.
        return POSITIONAL, ()
    kinds = {one.kind for one in parameters}
    needed = [one for one in parameters if one.default is Parameter.empty and one.kind not in _MANY]
    if Parameter.VAR_POSITIONAL not in kinds and all(map(_is_named, needed)):
        named = tuple(one.name for one in parameters if _is_named(one))
        named = COLUMNS if Parameter.VAR_KEYWORD in kinds else named
        if not named:
            raise ValueError(f"reward {path}: expected parameters of {_CHOICES}; got none")
        return (), named
    first = [one for one in parameters if one.kind in _BY_POSITION][: len(POSITIONAL)]
    if not all(map(_stands_for, first, POSITIONAL)) or (
        len(first) < len(POSITIONAL) and Parameter.VAR_POSITIONAL not in kinds
    ):
        first = []
    for one in needed:
        if one not in first and not _is_named(one):
            raise ValueError(
                f"reward {path}: expected parameters of {_CHOICES}; "
                f"got {brief(one.name)}{suggestion(one.name, COLUMNS)}"
            )
    rest = [one for one in parameters if one not in first]
    return POSITIONAL, tuple(one.name for one in rest if _is_named(one))


def _is_named(parameter: Parameter) -> bool:
    return parameter.name in COLUMNS and parameter.kind in _BY_NAME


def _stands_for(parameter: Parameter, column: str) -> bool:
    """Whether a parameter may take the column by position: it names no other one."""
    return parameter.name == column or parameter.name not in COLUMNS
