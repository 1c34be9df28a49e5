"""Published objectives as settings of the functions beside this file: data, not code."""

from dataclasses import dataclass
from typing import Any

from perl_jax.objectives import checks
from perl_jax.objectives.advantages import BASELINES, SCALES, Baseline, Scale
from perl_jax.objectives.aggregation import AGGREGATIONS, Aggregation
from perl_jax.objectives.kl import KL_KINDS, KLKind
from perl_jax.objectives.policy import LEVELS, Level


@dataclass(frozen=True)
class Objective:
    """What is optimised. Every field is an argument of the function that it is listed under.

    Attributes:
        baseline: `group_advantages`.
        scale: `group_advantages`.
        ddof: `group_advantages`.
        clip_low: `policy_loss`.
        clip_high: `policy_loss`.
        dual_clip: `policy_loss`; None for none.
        level: `policy_loss`.
        aggregation: `aggregate`, as ``how``; ``constant_length`` needs the generation budget.
        kl: `kl_penalty`, as ``kind``.
        kl_coefficient: What the aggregated penalty is multiplied with; 0 needs no reference.
        entropy_coefficient: What the aggregated entropy is multiplied with, and then subtracted
            from the loss.
    """

    baseline: Baseline = "mean"
    scale: Scale = "std"
    ddof: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    level: Level = "token"
    aggregation: Aggregation = "token_mean"
    kl: KLKind = "k3"
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0

    def __post_init__(self) -> None:
        named: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
            ("baseline", self.baseline, BASELINES),
            ("scale", self.scale, SCALES),
            ("level", self.level, LEVELS),
            ("aggregation", self.aggregation, AGGREGATIONS),
            ("kl", self.kl, KL_KINDS),
        )
        for name, value, choices in named:
            checks.choice(name, value, choices)
        for name in ("ddof", "clip_low", "clip_high", "kl_coefficient"):
            checks.at_least(name, getattr(self, name), 0)
        if self.dual_clip is not None:
            checks.at_least("dual_clip", self.dual_clip, 1, exclusive=True)


# DeepSeekMath, arXiv 2402.03300: eq. 3 and 4, and the coefficient of its section on training.
grpo = Objective(aggregation="sequence_mean_token_mean", kl_coefficient=0.04)

# "Understanding R1-Zero-Like Training", arXiv 2503.20783: no std, no length per response, no KL.
dr_grpo = Objective(scale="none", aggregation="constant_length")

# arXiv 2503.14476: the upper clip raised, the mean over tokens, no KL. Its dynamic sampling is
# perl_jax.filtering, its soft overlong penalty a reward.
dapo = Objective(clip_low=0.2, clip_high=0.28, aggregation="token_mean")

# arXiv 2507.18071: one ratio a response, clips of its section on experiments.
gspo = Objective(
    clip_low=3e-4, clip_high=4e-4, level="sequence", aggregation="sequence_mean_token_mean"
)

# "Back to Basics", arXiv 2402.14740: REINFORCE on whole responses. It neither clips nor reuses
# a batch; the clips here act only from a batch's second update on. Its KL is part of the reward.
rloo = Objective(baseline="leave_one_out", scale="none", aggregation="sequence_mean_token_sum")

# PeRL, arXiv 2506.14907, as its released settings have it: GRPO with verl's defaults.
perl = Objective(dual_clip=3.0, aggregation="token_mean", kl_coefficient=0.01)

PRESETS = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "dapo": dapo,
    "gspo": gspo,
    "rloo": rloo,
    "perl": perl,
}
