"""Sizes that arrays are padded to, so that the number of compiled programs stays small."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Len, Predicate

from perl_jax.settings import Expects


def bucket(size: int, *, minimum: int = 1, steps: int = 2) -> int:
    """Rounds a size up to one of few.

    Between one power of two and the next there are ``steps`` sizes, evenly spaced: padding adds at
    most 1 / steps, and sizes up to 2^k need about ``k * steps`` programs.

    Args:
        size: What has to fit.
        minimum: The smallest size to give.
        steps: A power of two.

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


@dataclass(frozen=True)
class Ladder:
    """The sizes that arrays of one kind may have.

    Attributes:
        name: What is measured, for errors.
        rungs: Rising sizes.
    """

    name: str
    rungs: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.rungs or not _rises(self.rungs):
            raise ValueError(f"{self.name}: expected rising positive sizes, got {self.rungs}")

    def fit(self, size: int, what: str) -> int:
        """The smallest rung that holds ``size``.

        Raises:
            ValueError: ``what`` is larger than the largest rung.
        """
        for rung in self.rungs:
            if size <= rung:
                return rung
        raise ValueError(
            f"{what}: {size} is more than the largest of {self.name}, {self.rungs[-1]}"
        )
