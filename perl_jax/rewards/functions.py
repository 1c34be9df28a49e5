"""Reward functions of the user: any Python function, given as ``package.module:function``."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from perl_jax.settings import suggestion


@dataclass(frozen=True)
class RewardFunction:
    """A function of the user, checked at every call.

    It is called as ``function(responses, answers, metadata)``, with one text, one ground truth and
    one mapping per row, and returns one finite number per row.
    """

    path: str  # package.module:function, its name in messages
    function: Callable[[Sequence[str], Sequence[Any], Sequence[Mapping[str, Any]]], Sequence[float]]

    def __call__(
        self,
        responses: Sequence[str],
        answers: Sequence[Any],
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> np.ndarray:
        """Returns the rewards, float32.

        Raises:
            RuntimeError: The function raised; its exception is the cause.
            ValueError: It returned another number of rewards than rows, or a reward that is not a
                finite number; names the function and the row.
        """
        if metadata is None:
            metadata = [{}] * len(responses)
        try:
            rewards = self.function(responses, answers, metadata)
        except Exception as error:
            raise RuntimeError(f"reward {self.path} raised {error!r}") from error
        sized = hasattr(rewards, "__len__") and not isinstance(rewards, str | Mapping)
        if not sized or len(rewards) != len(responses):
            got = len(rewards) if sized else type(rewards).__name__
            raise ValueError(f"reward {self.path}: expected {len(responses)} numbers; got {got}")
        for row, value in enumerate(rewards):
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(
                    f"reward {self.path}, row {row}: expected a finite number; got {value!r}"
                )
        return np.asarray(rewards, dtype=np.float32)


def load_reward(path: str) -> RewardFunction:
    """Imports the reward function at ``package.module:function``.

    Raises:
        ValueError: The path has another form, or the module has no such function.
        ImportError: The module cannot be imported; names the path and the cause.
    """
    module_name, separator, name = path.partition(":")
    if not separator or not module_name or not name.isidentifier():
        raise ValueError(f"reward function: expected 'package.module:function'; got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ImportError(f"reward {path}: cannot import {module_name}: {error!r}") from error
    function = vars(module).get(name)
    if not callable(function):
        hint = suggestion(name, [key for key, value in vars(module).items() if callable(value)])
        raise ValueError(f"reward {path}: {module_name} has no function {name!r}{hint}")
    return RewardFunction(path, function)
