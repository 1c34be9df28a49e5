r"""Rewards besides accuracy, and the sum that is optimised."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from perl_jax.settings import suggestion


def format_reward(response: str) -> float:
    r"""Returns 1.0 if the response thinks first and then answers in a box, else 0.0.

    It says what a full match of ``<think>.*</think>.*\boxed{.*}.*`` (PeRL's published format, a dot
    being any character) says, in linear time: taking the first of each mark after the one before
    finds a match if there is any.
    """
    if not response.startswith("<think>"):
        return 0.0
    position = len("<think>")
    for mark in ("</think>", "\\boxed{", "}"):
        found = response.find(mark, position)
        if found < 0:
            return 0.0
        position = found + len(mark)
    return 1.0


def overlong_penalty(lengths: Sequence[int], *, max_length: int, buffer: int) -> np.ndarray:
    """Returns the soft overlong punishment of DAPO (arXiv 2503.14476, equation 13), float32.

    With ``L`` the ``max_length`` (without which a response is cut off), ``c`` the ``buffer`` and
    ``n`` the length in tokens::

        0                  n <= L - c
        (L - c - n) / c    L - c < n <= L
        -1                 n > L

    It is added to the reward, weighted. A buffer of zero punishes only what is longer than ``L``.

    Raises:
        ValueError: The buffer is negative or longer than ``max_length``.
    """
    if not 0 <= buffer <= max_length:
        raise ValueError(
            f"overlong_penalty: expected 0 <= buffer <= max_length; got {buffer} and {max_length}"
        )
    n = np.asarray(lengths, dtype=np.float32)
    soft = (max_length - buffer - n) / max(buffer, 1)
    return np.where(n > max_length, -1.0, np.minimum(soft, 0.0)).astype(np.float32)


def weighted_sum(
    components: Mapping[str, Sequence[float] | np.ndarray], weights: Mapping[str, float]
) -> np.ndarray:
    """Returns the reward ``sum of weight * component`` for each row, float32.

    PeRL's is ``{"accuracy": 0.9, "format": 0.1}``. A component without a weight is left out (it may
    be wanted as a metric); a weight without a component is an error.

    Raises:
        ValueError: A weight names no component or is not finite, components differ in length, or a
            value is not finite (names the component and the row).
    """
    lengths = {name: len(values) for name, values in components.items()}
    if not weights or len(set(lengths.values())) != 1:
        raise ValueError(f"weighted_sum: expected weights and components of one length: {lengths}")
    total = np.zeros(next(iter(lengths.values())), dtype=np.float32)
    for name, weight in weights.items():
        if name not in components:
            hint = suggestion(name, components)
            raise ValueError(f"weights: no reward {name!r}; there are {sorted(components)}{hint}")
        if not math.isfinite(weight):
            raise ValueError(f"weights[{name!r}]: expected a finite number; got {weight}")
        values = np.asarray(components[name], dtype=np.float32)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"reward {name!r}, row {row}: not finite: {values[row]}")
        total += np.float32(weight) * values
    return total
