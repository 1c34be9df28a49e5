"""The rate at which examples get permuted orders, and the seeded gate that decides for each one."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Interval

from perl_jax.permutation.orders import uniform
from perl_jax.settings import Checked, Expects


@dataclass(frozen=True)
class Schedule(Checked):
    """The course of the permutation rate over a run of T steps.

    Attributes:
        kind: ``constant`` 1, ``linear`` 1 - t/T, ``power`` 1 - (t/T)^c, ``exponential``
            1 - c^(T-t), or ``cosine`` (1 + cos(π t/T)) / 2. All but the constant end at 0. PeRL
            (arXiv 2506.14907) trains with the linear one.
        peak: The rate is multiplied by it; in [0, 1].
        power: The exponent c of ``power``; above 0.
        base: The base c of ``exponential``; in (0, 1). The nearer to 1, the earlier the decay.
        warmup: The share of the steps over which the rate is ramped up, linearly from 0; in [0, 1).
    """

    kind: Literal["constant", "linear", "power", "exponential", "cosine"] = "linear"
    peak: Annotated[float, Interval(ge=0, le=1), Expects("a number from 0 to 1")] = 1.0
    power: Annotated[float, Gt(0), Expects("a number above 0")] = 2.0
    base: Annotated[float, Interval(gt=0, lt=1), Expects("a number between 0 and 1")] = 0.99
    warmup: Annotated[float, Interval(ge=0, lt=1), Expects("a share from 0 to below 1")] = 0.0


def permutation_rate(step: int, total_steps: int, schedule: Schedule) -> float:
    """The probability that an example gets permuted orders after ``step`` optimizer steps.

    With a warm-up of W steps it is the schedule's rate times min(1, step / W).

    Raises:
        ValueError: If ``total_steps`` is below 1 or ``step`` lies outside the run.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps: expected at least 1; got {total_steps}")
    if not 0 <= step <= total_steps:
        raise ValueError(f"step: expected 0 to {total_steps}; got {step}")
    done = step / total_steps
    rate = {
        "constant": lambda: 1.0,
        "linear": lambda: 1.0 - done,
        "power": lambda: 1.0 - done**schedule.power,
        "exponential": lambda: 1.0 - schedule.base ** (total_steps - step),
        "cosine": lambda: (1.0 + math.cos(math.pi * done)) / 2.0,
    }[schedule.kind]()
    ramp = min(1.0, done / schedule.warmup) if schedule.warmup > 0 else 1.0
    return schedule.peak * ramp * rate


def is_permuted(seed: int, step: int, example_id: str, rate: float) -> bool:
    """Whether this example gets permuted orders at this step: true with probability ``rate``.

    A function of its arguments alone; it does not share randomness with `sample_orders`.

    Raises:
        ValueError: If the rate is not a probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected a probability; got {rate!r}")
    return uniform(seed, step, example_id, "gate") < rate
