"""Sizes that arrays are padded to, so that few programs are compiled."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Len, Predicate

from perl_jax.settings import Expects


def bucket(size: int, *, minimum: int = 1, steps: int = 2) -> int:
    """Rounds a size up to one of few, at least ``minimum``.

    There are ``steps`` (a power of two) evenly spaced sizes from one power of two to the next:
    padding adds at most 1 / steps, and sizes up to 2^k need about ``k * steps`` programs.

    Raises:
        ValueError: ``size`` is negative.
    """
    if size < 0:
        raise ValueError(f"size: expected at least 0, got {size}")
    size = max(size, minimum)
    step = max(1, (1 << (size.bit_length() - 1)) // steps)
    return -(-size // step) * step


def _rises(sizes: tuple[int, ...]) -> bool:
    return all(low < high for low, high in pairwise((0, *sizes)))


OptionalRungs = Annotated[tuple[int, ...], Predicate(_rises), Expects("rising positive sizes")]
Rungs = Annotated[OptionalRungs, Len(1)]
# Sizes, or "auto": those that fit the rows of the run, see `perl_jax.ladders`.
AutoRungs = Literal["auto"] | Rungs
AutoOptionalRungs = Literal["auto"] | OptionalRungs


@dataclass(frozen=True)
class Ladder:
    """The rising sizes that arrays of one kind may have; ``name`` is for errors."""

    name: str
    rungs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.rungs or not _rises(self.rungs):
            raise ValueError(f"{self.name}: expected rising positive sizes, got {self.rungs}")

    def fit(self, size: int, what: str) -> int:
        """The smallest rung that holds ``size``.

        Raises:
            ValueError: ``size``, of ``what``, is more than the largest rung.
        """
        if size > (largest := self.rungs[-1]):
            raise ValueError(f"{what}: {size} is more than the largest of {self.name}, {largest}")
        return next(rung for rung in self.rungs if size <= rung)
