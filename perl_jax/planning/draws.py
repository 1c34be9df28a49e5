"""How many groups a step draws until enough of them inform."""

import math
from dataclasses import dataclass

# With fewer deviations above the mean, a step would often have to draw again.
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Draws:
    """The groups of a step whose groups inform independently, each with the same probability.

    Attributes:
        pass_rate: That probability.
        wanted: B, the informative groups of a full batch.
        kept: The informative groups of a batch on average; less than B where the cap is too low.
        needed: The groups that are drawn on average until so many inform.
        drawn: The groups that are drawn, those ahead included.
        most: The cap on the groups drawn.
    """

    pass_rate: float
    wanted: int
    kept: int
    needed: int
    drawn: int
    most: int

    @classmethod
    def of(cls, wanted: int, pass_rate: float, most: int) -> "Draws":
        """The draws until ``wanted`` groups inform.

        Their number has the mean B / p and the deviation sqrt(B (1 - p)) / p of the negative
        binomial distribution; two deviations are drawn ahead.
        """
        mean = wanted / pass_rate
        ahead = _DEVIATIONS * math.sqrt(wanted * (1 - pass_rate)) / pass_rate
        kept = wanted if mean <= most else int(most * pass_rate)
        needed, drawn = (min(most, math.ceil(size)) for size in (mean, mean + ahead))
        return cls(pass_rate, wanted, kept, needed, drawn, most)

    @classmethod
    def unfiltered(cls, wanted: int) -> "Draws":
        """The draws of a step that keeps every group."""
        return cls(1.0, wanted, wanted, wanted, wanted, wanted)

    @property
    def surplus(self) -> int:
        """The groups that are drawn ahead and dropped, on average."""
        return self.drawn - self.needed

    def lines(self, tokens: int) -> list[str]:
        """The draws in words; ``tokens`` are those of the responses of a group on average."""
        if self.drawn == self.wanted:
            return ["Every group drawn is kept."]
        drawn, kept = self.drawn * tokens, self.kept * tokens
        return [
            f"At a pass rate of {self.pass_rate:g}, {self.needed} groups hold {self.kept} that "
            f"inform on average. {self.drawn} are drawn, {self.surplus} of them ahead "
            f"({self.surplus / self.drawn:.0%} surplus): {self._limit()}.",
            f"Tokens of responses: {drawn:,} drawn, {kept:,} kept ({kept / drawn:.0%}).",
        ]

    def _limit(self) -> str:
        """Why no more are drawn."""
        if self.drawn < self.most:
            return "two deviations, so that a step seldom has to draw again"
        cap = "the most that filtering.max_draws allows"
        if self.kept < self.wanted:
            return f"{cap}, which leaves a batch of {self.kept} in place of {self.wanted} groups"
        return cap
