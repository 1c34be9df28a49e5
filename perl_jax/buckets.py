"""Sizes that arrays are padded to, so that the number of compiled programs stays small."""

from dataclasses import dataclass
from itertools import pairwise


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
        rising = all(low < high for low, high in pairwise(self.rungs))
        if not self.rungs or not rising or self.rungs[0] < 1:
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
