"""Which groups inform the policy, and how many more to draw until a batch is full of them.

A group whose rollouts are all right, or all wrong, has no advantages: it teaches nothing. These
functions judge raw accuracy, before any other reward is mixed in. They are pure: hosts that see the
same accuracies decide alike, so gather the accuracies of all hosts first. NumPy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
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


# The estimate before anything is judged: half of the groups inform, as sure as of this many.
_PRIOR_RATE, _PRIOR_GROUPS = 0.5, 16.0
# What a step has judged counts this much less after each later step.
_DECAY = 0.75
# More groups are drawn when the informative ones are expected to exceed a batch by fewer standard
# deviations than the first number, and then as many as exceed it by the second.
_LEAST_MARGIN, _MARGIN = 0.0, 1.0


@dataclass(frozen=True)
class PassRate:
    """How many of the groups that past steps judged inform; each step counts less as others follow.

    Attributes:
        informative: The groups that inform.
        judged: All groups.
    """

    informative: float = 0.0
    judged: float = 0.0

    @property
    def mean(self) -> float:
        """The estimate, which starts at a half."""
        return (self.informative + _PRIOR_RATE * _PRIOR_GROUPS) / self.weight

    @property
    def weight(self) -> float:
        """How many groups the estimate is worth."""
        return self.judged + _PRIOR_GROUPS

    def after(self, informative: int, judged: int) -> "PassRate":
        """The estimate after another step."""
        return PassRate(_DECAY * self.informative + informative, _DECAY * self.judged + judged)


@dataclass(frozen=True)
class Refill:
    """The state of one step's draw: groups are drawn until enough of them inform.

        refill = Refill(target=B, max_groups=4 * B)
        while not refill.done:
            accuracy, mask = roll_out_and_grade(next_examples(refill.next_draw()))
            refill = refill.add(accuracy, mask)
        batch = [groups[number] for number in refill.indices]

    Groups are numbered in the order in which they are drawn, from 0. The batch is made of the first
    ``target`` informative ones in this order. With `draw` and `judge` in place of `add`, they are
    drawn while others are still sampled, and judged in any order: the draw is done when every group
    up to the last one of the batch is judged. Later ones (`surplus`) are dropped, as a later step's
    policy did not sample them; draw their examples again. So a batch depends neither on what
    finishes first nor on how many are drawn ahead. When the cap ends the draw, it is smaller.

    Attributes:
        target: B, how many informative groups make a batch.
        max_groups: The cap on groups drawn. At least ``target``.
        bounds: Which groups inform.
        verdicts: That on each group which was drawn; None: it is not judged yet.
        draws: How many draws there were.
    """

    target: int
    max_groups: int
    bounds: Bounds = Bounds()
    verdicts: tuple[Verdict | None, ...] = ()
    draws: int = 0

    def __post_init__(self) -> None:
        for name, least in (("target", 1), ("max_groups", self.target)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name}: expected at least {least}; got {value!r}")

    @cached_property
    def drawn(self) -> int:
        """How many groups the batch is chosen from: those up to its last one.

        All groups so far, while fewer than ``target`` are known to inform. It never grows after.
        """
        informative = self._informative
        full = len(informative) >= self.target
        return informative[self.target - 1] + 1 if full else len(self.verdicts)

    @property
    def indices(self) -> tuple[int, ...]:
        """The numbers of the groups of the batch, ascending; all of them once `done`."""
        return tuple(self._informative[: self.target])

    @property
    def kept(self) -> int:
        """How many groups of the batch have been found."""
        return len(self.indices)

    @property
    def surplus(self) -> int:
        """How many groups were drawn in vain, as the batch is full without them."""
        return len(self.verdicts) - self.drawn

    @property
    def waiting(self) -> tuple[int, ...]:
        """The numbers of the groups that are still to be judged."""
        return tuple(n for n, one in enumerate(self.verdicts[: self.drawn]) if one is None)

    @property
    def cap_reached(self) -> bool:
        """Whether the cap ended the draw before the batch was full."""
        return self.done and self.kept < self.target

    @cached_property
    def done(self) -> bool:
        """Whether the batch is known: it is full or at the cap, and no group is waiting."""
        complete = len(self._informative) >= self.target or len(self.verdicts) == self.max_groups
        return complete and not self.waiting

    def count(self, verdict: Verdict) -> int:
        """How many of the groups that the batch is chosen from have this verdict."""
        return self.verdicts[: self.drawn].count(verdict)

    def next_draw(self, past: PassRate = PassRate()) -> int:
        """How many groups to draw now, within the cap; 0 if those on their way probably do.

        It follows from the share of groups that inform, as those judged so far and ``past`` say:
        the informative groups are expected to fill the batch with a margin of some standard
        deviations. There are few draws: each is as large as that needs.
        """
        found, waiting = len(self._informative), len(self.waiting)
        room = 0 if found >= self.target else self.max_groups - len(self.verdicts)
        judged = len(self.verdicts) - waiting
        weight = past.weight + judged
        rate = (past.mean * past.weight + found) / weight
        # Of so many groups, which inform at a rate that is known from ``weight`` groups.
        count = waiting + np.arange(room + 1)
        deviation = np.sqrt(count * rate * (1 - rate) * (weight + count) / (weight + 1))
        expected = found + count * rate
        if room == 0 or expected[0] - _LEAST_MARGIN * deviation[0] >= self.target:
            return 0
        enough = expected - _MARGIN * deviation >= self.target
        return int(np.argmax(enough)) if enough.any() else room

    def draw(self, count: int) -> "Refill":
        """The state with ``count`` more groups on their way.

        Raises:
            ValueError: There are none, or more than the cap allows.
        """
        room = self.max_groups - len(self.verdicts)
        if not 1 <= count <= room:
            raise ValueError(f"draw: expected 1 to {room} groups; got {count}")
        return replace(self, verdicts=self.verdicts + (None,) * count, draws=self.draws + 1)

    def judge(
        self,
        numbers: Sequence[int],
        accuracy_bxG: ArrayLike,
        mask_bxG: ArrayLike | None = None,
    ) -> "Refill":
        """The state with the verdicts on some of the groups that were drawn.

        Args:
            numbers: The b groups.
            accuracy_bxG: ``[b, G]``, pooled over orders.
            mask_bxG: Bool of the same shape, as for `informative_groups`.

        Raises:
            ValueError: For arrays of the wrong shape, or groups that are not waiting.
        """
        accuracy = np.asarray(accuracy_bxG)
        if accuracy.ndim != 2 or len(accuracy) != len(numbers):
            raise ValueError(
                f"accuracy_bxG: expected axes [b, G] with b = {len(numbers)}; got shape "
                f"{[*accuracy.shape]}"
            )
        verdicts = list(self.verdicts)
        found = judge_groups(accuracy, mask_bxG, self.bounds).tolist()
        for number, verdict in zip(numbers, found, strict=True):
            if not 0 <= number < len(verdicts) or verdicts[number] is not None:
                raise ValueError(
                    f"numbers: expected groups that were drawn and are not judged; got {number}"
                )
            verdicts[number] = Verdict(verdict)
        return replace(self, verdicts=tuple(verdicts))

    def add(self, accuracy_bxG: ArrayLike, mask_bxG: ArrayLike | None = None) -> "Refill":
        """The state after a draw of b groups that are judged at once; see `draw` and `judge`."""
        first = len(self.verdicts)
        count = len(np.asarray(accuracy_bxG))
        return self.draw(count).judge(range(first, first + count), accuracy_bxG, mask_bxG)

    def may_end_with(self, numbers: Sequence[int]) -> bool:
        """Whether the batch could be known once these groups are judged."""
        verdicts = list(self.verdicts)
        for number in numbers:
            verdicts[number] = Verdict.INFORMATIVE
        # With every other verdict as many groups have to be judged, or more.
        return replace(self, verdicts=tuple(verdicts)).done

    def metrics(self) -> dict[str, int]:
        """The bookkeeping, by the names in the logs."""
        others = (Verdict.TOO_EASY, Verdict.TOO_HARD, Verdict.UNSCORED)
        return {
            "filter/drawn": self.drawn,
            "filter/kept": self.kept,
            **{f"filter/{one.name.lower()}": self.count(one) for one in others},
            "filter/surplus": self.surplus,
            "filter/refills": max(self.draws - 1, 0),
            "filter/cap_reached": int(self.cap_reached),
        }

    @cached_property
    def _informative(self) -> list[int]:
        """The groups that are known to inform, ascending."""
        return [n for n, one in enumerate(self.verdicts) if one == Verdict.INFORMATIVE]


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
