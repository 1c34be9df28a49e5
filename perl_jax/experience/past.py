"""What earlier steps tell the next one, and when too many of them found nothing to learn from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from perl_jax.experience.config import GroupFilterConfig
from perl_jax.filtering import PassRate, Refill, Verdict


@dataclass(frozen=True)
class Past:
    """The steps so far, as far as the next one has to know them.

    Attributes:
        pass_rate: The share of groups that inform.
        empty_steps: The last steps in a row in which no group informed.
        too_easy: The groups of these steps with this `Verdict`; likewise the others.
    """

    pass_rate: PassRate = field(default_factory=PassRate)
    empty_steps: int = 0
    too_easy: int = 0
    too_hard: int = 0
    unscored: int = 0

    def after(self, refill: Refill) -> "Past":
        """The past of the next step, after this one's draw."""
        pass_rate = self.pass_rate.after(refill.kept, refill.drawn)
        if refill.kept:
            return Past(pass_rate)
        return Past(
            pass_rate,
            self.empty_steps + 1,
            self.too_easy + refill.count(Verdict.TOO_EASY),
            self.too_hard + refill.count(Verdict.TOO_HARD),
            self.unscored + refill.count(Verdict.UNSCORED),
        )

    def check(self, filtering: GroupFilterConfig) -> None:
        """Raises ValueError if too many steps in a row were empty, and says what to look at."""
        if self.empty_steps < filtering.max_empty_steps:
            return
        bounds = filtering.bounds
        brackets = "[]" if bounds.inclusive else "()"
        allowed = f"{brackets[0]}{bounds.low:g}, {bounds.high:g}{brackets[1]}"
        judged = self.too_easy + self.too_hard + self.unscored
        raise ValueError(
            f"no group informed in {self.empty_steps} steps in a row (filtering.max_empty_steps): "
            f"of {judged:,} groups {self.too_easy:,} were too easy, {self.too_hard:,} too hard, "
            f"and {self.unscored:,} not graded. A group informs if its mean accuracy is within "
            f"filtering.bounds, {allowed}; about {self.pass_rate.mean:.1%} of the groups did of "
            "late. Look at the responses in the log of rollouts. Against groups that are too hard: "
            "easier rows (data.train), more rollout.num_rollouts or rollout.max_new_tokens, or a "
            "warm start; too easy: harder rows (perl-jax prepare measures how hard they are); not "
            "graded: reward.deadline, and the answers of the rows. filtering.max_draws lets a step "
            "draw more groups"
        )

    def state(self) -> dict[str, Any]:
        """The JSON-able content, for a checkpoint."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """The past of a `state`."""
        return cls(**{**state, "pass_rate": PassRate(**state["pass_rate"])})
