"""Published objectives as settings of the functions beside this file: data, not code."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from perl_jax.objectives.advantages import Baseline, Scale
from perl_jax.objectives.aggregation import Aggregation
from perl_jax.objectives.kl import KLKind
from perl_jax.objectives.policy import Level
from perl_jax.settings import Checked, CountOrZero, Expects, MayBeInfinite, PositiveOrZero

_NotNegative = Annotated[PositiveOrZero, Expects("a number >= 0")]


@dataclass(frozen=True)
class Objective(Checked):
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
    ddof: Annotated[CountOrZero, Expects("a number >= 0")] = 1
    clip_low: _NotNegative = 0.2
    clip_high: Annotated[_NotNegative, MayBeInfinite()] = 0.2
    dual_clip: Annotated[float, Gt(1), Expects("a number > 1")] | None = None
    level: Level = "token"
    aggregation: Aggregation = "token_mean"
    kl: KLKind = "k3"
    kl_coefficient: _NotNegative = 0.0
    entropy_coefficient: float = 0.0


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
