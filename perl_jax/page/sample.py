"""Chooses the groups that a page shows: as many of each source as is fair, from all steps."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perl_jax.page.groups import Group

Key = tuple[int, int]


@dataclass(frozen=True)
class Logged:
    """What a log of rollouts holds in all.

    Attributes:
        keys: Step and number of every group, by source.
        outcomes: The groups by source and outcome.
        unpermuted: The groups by the reason for which they kept their order.
        permuted: The groups that have an order besides their own.
        flips: Those of them whose answers are right under one order and wrong under another.
    """

    keys: dict[str, list[Key]]
    outcomes: Counter[tuple[str, str]]
    unpermuted: Counter[str]
    permuted: Counter[str]
    flips: Counter[str]

    @classmethod
    def of(cls, groups: Iterable[Group]) -> "Logged":
        """Counts them, one after another."""
        logged = cls({}, Counter(), Counter(), Counter(), Counter())
        for group in groups:
            logged.keys.setdefault(group.source, []).append((group.step, group.group))
            logged.outcomes[group.source, group.outcome] += 1
            if group.unpermuted is not None:
                logged.unpermuted[group.unpermuted] += 1
            logged.permuted[group.source] += group.permuted
            logged.flips[group.source] += group.flips
        return logged

    @property
    def total(self) -> int:
        """The number of groups."""
        return sum(map(len, self.keys.values()))


def choose(logged: Logged, count: int) -> set[Key]:
    """Step and number of at most ``count`` groups.

    Every source gets the same number, as far as it has so many; those of a source are spread evenly
    over all that it logged, and so over the steps. The same log gives the same choice.
    """
    chosen: set[Key] = set()
    sources = sorted(logged.keys.items(), key=lambda item: (len(item[1]), item[0]))
    for turn, (_, keys) in enumerate(sources):
        share = (count - len(chosen)) // (len(sources) - turn)
        chosen |= _spread(sorted(keys), min(share, len(keys)))
    return chosen


def _spread(keys: Sequence[Key], count: int) -> set[Key]:
    """One of each of ``count`` equal parts, whichever has the least digest.

    The first of each part might be the first of a step each time, which is never a refill.
    """
    bounds = [len(keys) * part // count for part in range(count + 1)] if count else [0]
    return {min(keys[start:stop], key=_digest) for start, stop in pairwise(bounds)}


def _digest(key: Key) -> bytes:
    return hashlib.sha256(repr(key).encode()).digest()
