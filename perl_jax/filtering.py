"""Which groups inform the policy, and how many more to draw until a batch is full of them.

A group whose rollouts are all right, or all wrong, has no advantages: it teaches nothing. These
functions judge raw accuracy, before any other reward is mixed in. They are pure: hosts that see the
same accuracies decide alike, so gather the accuracies of all hosts first. NumPy only.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from perl_jax.settings import Checked, Expects


class Verdict(IntEnum):
    """What a filter says of a group, by the mean accuracy of its scored rollouts."""

    INFORMATIVE = 0
    TOO_EASY = 1
    TOO_HARD = 2
    UNSCORED = 3


_Accuracy = Annotated[float, Interval(ge=0, le=1), Expects("a mean accuracy in [0, 1]")]


@dataclass(frozen=True)
class Bounds(Checked):
    """The mean accuracies that are kept.

    The defaults drop the groups that are all right or all wrong, as DAPO's dynamic sampling does
    (arXiv 2503.14476). ``Bounds(inclusive=True)`` keeps every group with a score.

    Attributes:
        low: Groups below are too hard.
        high: Groups above are too easy.
        inclusive: Whether groups exactly on a bound are kept.
    """

    low: _Accuracy = 0.0
    high: _Accuracy = 1.0
    inclusive: bool = False

    def _check_together(self) -> None:
        if self.low > self.high or (self.low == self.high and not self.inclusive):
            raise ValueError(
                f"low, high: expected bounds with something between them; got {self.low!r} and "
                f"{self.high!r} with inclusive={self.inclusive}"
            )


def informative_groups(
    accuracy_BxG: ArrayLike,
    mask_BxG: ArrayLike | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    inclusive: bool = False,
) -> NDArray[np.bool_]:
    """Which groups have a mean accuracy between two bounds.

    The last axis is the group. ``[B, G]`` pools all orders of an example, as PeRL does, and gives
    ``[B]``. ``[B, K, N]`` has a group per order and gives ``[B, K]``; ``.any(axis=1)`` of it says
    which examples have something to teach.

    Args:
        accuracy_BxG: The raw grade of each rollout, in [0, 1] and mostly 0 or 1: not the reward
            that is optimised, where a format bonus would hide a group without information.
        mask_BxG: Bool, of the same shape: false where a rollout is missing or could not be
            graded. Such rollouts do not count; a group without any other is not informative.
            None: all count.
        low: Mean accuracies must be above.
        high: Mean accuracies must be below.
        inclusive: Whether the bounds themselves are kept.

    Returns:
        Bool, the shape of the accuracies without their last axis.

    Raises:
        ValueError: For shapes that differ, bounds outside [0, 1], or an unmasked accuracy that is
            NaN or outside [0, 1].
    """
    bounds = Bounds(low, high, inclusive)
    return judge_groups(accuracy_BxG, mask_BxG, bounds) == Verdict.INFORMATIVE


def judge_groups(
    accuracy_BxG: ArrayLike, mask_BxG: ArrayLike | None = None, bounds: Bounds | None = None
) -> NDArray[np.int8]:
    """The `Verdict` on every group, int8 ``[...]``; arguments as for `informative_groups`."""
    bounds = bounds or Bounds()
    mean = _mean_accuracy(accuracy_BxG, mask_BxG)
    too_hard = mean < bounds.low if bounds.inclusive else mean <= bounds.low
    too_easy = mean > bounds.high if bounds.inclusive else mean >= bounds.high
    verdicts = np.full(mean.shape, Verdict.INFORMATIVE, np.int8)
    verdicts[too_easy] = Verdict.TOO_EASY
    verdicts[too_hard] = Verdict.TOO_HARD
    verdicts[np.isnan(mean)] = Verdict.UNSCORED
    return verdicts


@dataclass(frozen=True)
class Refill:
    """The state of one step's draw: groups are drawn until enough of them inform.

        refill = Refill(target=B, max_groups=4 * B)
        while not refill.done:
            accuracy, mask = roll_out_and_grade(next_examples(refill.next_draw))
            refill = refill.add(accuracy, mask)
        slots, real = refill.batch()

    Groups are numbered in the order in which they are drawn, from 0, over all rounds. The batch
    is made of the first ``target`` informative ones. Further ones (``surplus``) are dropped, as a
    later step's policy did not sample them. When the cap ends the draw early, the batch keeps its
    shape: see `batch`.

    Attributes:
        target: B, how many informative groups make a batch.
        max_groups: The cap on groups drawn. At least ``target``.
        bounds: Which groups inform.
        indices: Numbers of the groups kept, in the order drawn, at most ``target``.
        drawn: How many groups were drawn: how far to move the data iterator.
        too_easy: How many were dropped with this `Verdict`; ``too_hard`` and ``unscored`` likewise.
        surplus: How many informative groups were dropped because the batch was already full.
        rounds: How many draws there were.
    """

    target: int
    max_groups: int
    bounds: Bounds = Bounds()
    indices: tuple[int, ...] = ()
    drawn: int = 0
    too_easy: int = 0
    too_hard: int = 0
    unscored: int = 0
    surplus: int = 0
    rounds: int = 0

    def __post_init__(self) -> None:
        for name, least in (("target", 1), ("max_groups", self.target)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name}: expected at least {least}; got {value!r}")

    @property
    def kept(self) -> int:
        """How many groups of the batch have been found."""
        return len(self.indices)

    @property
    def refills(self) -> int:
        """Draws after the first."""
        return max(self.rounds - 1, 0)

    @property
    def missing(self) -> int:
        """How many informative groups the batch still lacks."""
        return self.target - self.kept

    @property
    def cap_reached(self) -> bool:
        """Whether the cap ended the draw before the batch was full."""
        return self.missing > 0 and self.drawn >= self.max_groups

    @property
    def done(self) -> bool:
        """Whether to stop drawing: the batch is full, or the cap is reached."""
        return self.missing == 0 or self.cap_reached

    @property
    def next_draw(self) -> int:
        """How many groups to draw now: those missing, within the cap; 0 when done."""
        return min(self.missing, self.max_groups - self.drawn)

    def add(self, accuracy_BxG: ArrayLike, mask_BxG: ArrayLike | None = None) -> "Refill":
        """The state after one more draw.

        Args:
            accuracy_BxG: ``[b, G]``, b groups in the order drawn, pooled over orders. b may differ
                from `next_draw`, since a data set can end.
            mask_BxG: Bool of the same shape, as for `informative_groups`.

        Raises:
            ValueError: For arrays of the wrong shape, no groups, or more than the cap allows.
        """
        accuracy = np.asarray(accuracy_BxG)
        if accuracy.ndim != 2:
            raise ValueError(f"accuracy_BxG: expected axes [b, G]; got shape {[*accuracy.shape]}")
        room = self.max_groups - self.drawn
        if not 1 <= len(accuracy) <= room:
            raise ValueError(f"accuracy_BxG: expected 1 to {room} groups; got {len(accuracy)}")
        verdicts = judge_groups(accuracy, mask_BxG, self.bounds)
        found = (self.drawn + np.flatnonzero(verdicts == Verdict.INFORMATIVE)).tolist()
        return replace(
            self,
            indices=self.indices + tuple(found[: self.missing]),
            drawn=self.drawn + len(accuracy),
            too_easy=self.too_easy + int(np.sum(verdicts == Verdict.TOO_EASY)),
            too_hard=self.too_hard + int(np.sum(verdicts == Verdict.TOO_HARD)),
            unscored=self.unscored + int(np.sum(verdicts == Verdict.UNSCORED)),
            surplus=self.surplus + max(len(found) - self.missing, 0),
            rounds=self.rounds + 1,
        )

    def batch(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Which groups make the batch, always ``target`` of them, so that no shape changes.

        Returns:
            ``(indices, real)``, ``[target]`` each: the numbers of the groups, in the order drawn,
            and which slots hold a group of their own. A slot that is not real repeats the first
            group of the batch (or group 0 if none was kept): mask it out of advantages and loss.
            Skip the update of a batch without any real slot: its gradient is zero, but momentum
            and weight decay would still move the parameters.

        Raises:
            ValueError: Before anything was drawn.
        """
        if self.drawn == 0:
            raise ValueError("batch: expected at least one draw before it; got none")
        filler = self.indices[0] if self.indices else 0
        indices = np.array(self.indices + (filler,) * self.missing, np.int64)
        return indices, np.arange(self.target) < self.kept

    def metrics(self) -> dict[str, int]:
        """The bookkeeping, by the names in the logs."""
        names = ("drawn", "kept", "too_easy", "too_hard", "unscored", "surplus", "refills")
        counts = {f"filter/{name}": getattr(self, name) for name in names}
        return counts | {"filter/cap_reached": int(self.cap_reached)}


def _mean_accuracy(accuracy: ArrayLike, mask: ArrayLike | None) -> NDArray[np.float64]:
    """The mean over the scored rollouts of each group; NaN without one."""
    values = np.asarray(accuracy, np.float64)
    if values.ndim == 0:
        raise ValueError("accuracy_BxG: expected axes [..., G]; got a scalar")
    keep = np.ones(values.shape, bool) if mask is None else np.asarray(mask) != 0
    if keep.shape != values.shape:
        raise ValueError(f"mask_BxG: expected shape {list(values.shape)}; got {list(keep.shape)}")
    wrong = np.argwhere(keep & ~((values >= 0) & (values <= 1)))
    if len(wrong):
        place = wrong[0].tolist()
        raise ValueError(
            f"accuracy_BxG: expected raw accuracies in [0, 1], and a mask that is false where "
            f"there is none; got {values[tuple(place)]} at {place}"
        )
    count = keep.sum(axis=-1)
    # One exact sum and one division: 3 of 10 compares equal to a bound of 0.3.
    total = np.where(keep, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
