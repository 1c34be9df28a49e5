"""Objectives as values: the loss, advantages, penalty and aggregation, and their settings.

Every choice is a `Literal` whose cases are told apart by one ``match`` in the file of its function.
To add a case, add it to its Literal: mypy then names the ``match`` that lacks it, and
tests/objectives/test_objective_choices.py asks for its loss by hand.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

import jax
import jax.numpy as jnp
from annotated_types import Gt
from jax.typing import ArrayLike

from perl_jax.objectives.advantages import Baseline, Scale, group_advantages
from perl_jax.objectives.aggregation import Aggregation
from perl_jax.objectives.kl import KLKind, kl_penalty
from perl_jax.objectives.policy import Level, Stats, cispo_loss, policy_loss
from perl_jax.settings import Checked, CountOrZero, Expects, MayBeInfinite, PositiveOrZero

Surrogate = Literal["clipped", "cispo"]
_NotNegative = Annotated[PositiveOrZero, Expects("a number >= 0")]


@dataclass(frozen=True)
class Objective(Checked):
    """The objective. Every field is an argument of the function that is named beside it.

    Attributes:
        surrogate: Which loss: ``clipped`` is `policy_loss`, ``cispo`` is `cispo_loss`.
        pool_orders: Whether a rollout is compared with those to its example under all orders, as
            in PeRL, or with those under its own order.
        baseline: `group_advantages`.
        scale: `group_advantages`.
        ddof: `group_advantages`.
        clip_low: The loss.
        clip_high: The loss.
        dual_clip: `policy_loss`; None for none.
        level: `policy_loss`.
        aggregation: `aggregate`, as ``how``; ``constant_length`` needs the generation budget.
        kl: `kl_penalty`, as ``kind``.
        kl_coefficient: The factor of the aggregated penalty; 0 needs no reference.
        entropy_coefficient: The factor of the aggregated entropy, which the loss subtracts.
    """

    surrogate: Surrogate = "clipped"
    pool_orders: bool = True
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

    def _check_together(self) -> None:
        if self.surrogate == "cispo" and (self.level != "token" or self.dual_clip is not None):
            raise ValueError(
                "surrogate: expected clipped with level='sequence' or a dual_clip, which cispo "
                f"does not have; got cispo with level={self.level!r}, dual_clip={self.dual_clip}"
            )

    def advantages(
        self, rewards_BxKxN: ArrayLike, mask_BxKxN: ArrayLike | None = None
    ) -> jax.Array:
        """`group_advantages` with these settings; float32, of the shape of the rewards.

        Rewards ``[B, G]`` hold one order each.
        """
        rewards = jnp.asarray(rewards_BxKxN)
        mask = jnp.ones(rewards.shape, bool) if mask_BxKxN is None else jnp.asarray(mask_BxKxN)
        groups = (len(rewards), -1) if self.pool_orders else rewards.shape
        advantages = group_advantages(
            rewards.reshape(groups),
            mask.reshape(groups),
            baseline=self.baseline,
            scale=self.scale,
            ddof=self.ddof,
        )
        return advantages.reshape(rewards.shape)

    def token_loss(
        self, logprobs: ArrayLike, old_logprobs: ArrayLike, advantages: ArrayLike, mask: ArrayLike
    ) -> tuple[jax.Array, Stats]:
        """The loss per token before penalties, and statistics; arguments as of `policy_loss`."""
        arrays = (logprobs, old_logprobs, advantages, mask)
        match self.surrogate:
            case "clipped":
                return policy_loss(
                    *arrays,
                    clip_low=self.clip_low,
                    clip_high=self.clip_high,
                    dual_clip=self.dual_clip,
                    level=self.level,
                )
            case "cispo":
                return cispo_loss(*arrays, clip_low=self.clip_low, clip_high=self.clip_high)
            case _:
                assert_never(self.surrogate)

    def penalty(
        self, logprobs: ArrayLike, reference_logprobs: ArrayLike, mask: ArrayLike
    ) -> jax.Array:
        """`kl_penalty` of this kind, per token; its coefficient is not in it."""
        return kl_penalty(logprobs, reference_logprobs, self.kl, mask=mask)


PRESETS = {
    # DeepSeekMath, arXiv 2402.03300: eq. 3 and 4, and the coefficient of its section on training.
    "grpo": Objective(aggregation="sequence_mean_token_mean", kl_coefficient=0.04),
    # "Understanding R1-Zero-Like Training", arXiv 2503.20783: no std, no length per response, no
    # KL.
    "dr_grpo": Objective(scale="none", aggregation="constant_length"),
    # arXiv 2503.14476: the upper clip raised, the mean over tokens, no KL. Its dynamic sampling is
    # perl_jax.filtering, its soft overlong penalty a reward.
    "dapo": Objective(clip_low=0.2, clip_high=0.28, aggregation="token_mean"),
    # arXiv 2507.18071: one ratio a response, clips of its section on experiments.
    "gspo": Objective(
        clip_low=3e-4, clip_high=4e-4, level="sequence", aggregation="sequence_mean_token_mean"
    ),
    # arXiv 2506.13585: the importance weight is clipped, from above only, and no KL.
    "cispo": Objective(surrogate="cispo", clip_low=1.0, clip_high=4.0),
    # "Back to Basics", arXiv 2402.14740: REINFORCE on whole responses. It neither clips nor reuses
    # a batch; the clips here act only from a batch's second update on. Its KL is part of the
    # reward.
    "rloo": Objective(
        baseline="leave_one_out", scale="none", aggregation="sequence_mean_token_sum"
    ),
    # PeRL, arXiv 2506.14907, as its released settings have it: GRPO with verl's defaults.
    "perl": Objective(dual_clip=3.0, aggregation="token_mean", kl_coefficient=0.01),
}
