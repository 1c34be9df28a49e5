"""Tells a policy that is ruined, though all its numbers are finite."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_GROWTH = 30.0
_ENTROPY = 1e-6
_TRUNCATED = 0.999

SIGNS = {
    "exploded": f"the parameters' norm is over {_GROWTH:g} times that of the first step "
    "(optimizer/param_norm): look at optimizer.learning_rate and optimizer/grad_norm",
    "alike": "all rewards of every group are alike, so that nothing is learned (advantage/std): "
    "look at the reward, and at filtering",
    "certain": f"the entropy is below {_ENTROPY:g} nats per token (policy/entropy): look at "
    "optimizer.learning_rate, rollout.temperature and objective.entropy_coefficient",
    "truncated": "every response is cut off (rollout/truncated): look at the responses in the log "
    "of rollouts, at rollout.max_new_tokens and the rewards of length",
}
"""The signs of a ruined policy, and what to look at."""


@dataclass
class Health:
    """What the last steps show; a part of the progress that is kept over interruptions.

    Attributes:
        first_norm: The norm of the parameters after the first step; None: not known yet.
        rows: The steps in a row that show each of `SIGNS`.
        empty: The last step had no group that informs, which `Past.check` counts.
        sound: The newest checkpoint of a step without any sign; None: there is none.
    """

    first_norm: float | None = None
    rows: dict[str, int] = field(default_factory=dict)
    empty: bool = False
    sound: int | None = None

    @property
    def is_sound(self) -> bool:
        """Whether the last step shows nothing suspicious."""
        return not (self.rows or self.empty)

    def see(self, metrics: Mapping[str, float]) -> None:
        """Looks at the metrics of a step; those that it lacks say nothing."""
        norm = metrics.get("optimizer/param_norm")
        if self.first_norm is None:
            self.first_norm = norm
        shown = {
            "exploded": None not in (norm, self.first_norm)
            and (norm or 0.0) > _GROWTH * (self.first_norm or 0.0),
            "alike": metrics.get("advantage/std", 1.0) == 0.0,
            "certain": metrics.get("policy/entropy", 1.0) < _ENTROPY,
            "truncated": metrics.get("rollout/truncated", 0.0) >= _TRUNCATED,
        }
        self.rows = {name: self.rows.get(name, 0) + 1 for name, there in shown.items() if there}
        self.empty = metrics.get("filter/empty", 0.0) > 0

    def check(self, step: int, most: int | None) -> None:
        """Raises ValueError if a sign shows in ``most`` steps in a row; None: never."""
        lasting = [name for name, count in self.rows.items() if most and count >= most]
        if not lasting:
            return
        good = "no earlier checkpoint is free of it" if self.sound is None else (
            f"the checkpoint of step {self.sound} is from before: a new run goes on from it with "
            f"--init_from=WORKDIR@{self.sound}"
        )  # fmt: skip
        raise ValueError(
            f"step {step}: the policy is ruined, for {most} steps in a row (early_stop.ruined): "
            f"{'; '.join(SIGNS[name] for name in lasting)}. {good[0].upper()}{good[1:]}"
        )
