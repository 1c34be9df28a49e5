"""Objectives as values: the loss, advantages, penalty and aggregation, and their settings.

`PRESETS` are published objectives. The section `objective` of a configuration is an
`ObjectiveConfig`, whose fields have the values of its preset unless they are given.

Every choice is a `Literal` whose cases are told apart by one ``match`` in the file of its function.
To add a case, add it to its Literal: mypy then names the ``match`` that lacks it, and
tests/objectives/test_objective_choices.py asks for its loss by hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, assert_never

import jax
import jax.numpy as jnp
from annotated_types import Gt
from jax.typing import ArrayLike

from perl_jax.objectives.advantages import Baseline, Scale, group_advantages, token_advantages
from perl_jax.objectives.aggregation import Aggregation
from perl_jax.objectives.checks import keep
from perl_jax.objectives.kl import KLKind, adapted_kl_coefficient, kl_penalty
from perl_jax.objectives.policy import Level, Stats, cispo_loss, policy_loss
from perl_jax.settings import (
    Checked,
    Count,
    CountOrZero,
    Expects,
    MayBeInfinite,
    Positive,
    PositiveOrZero,
)

Surrogate = Literal["clipped", "cispo"]
KLPlace = Literal["loss", "reward", "token_reward"]
Preset = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "perl"]
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
        kl_in: Where the penalty counts: ``loss`` adds it to the loss per token; ``reward`` takes
            its sum over a response from the reward, before the advantages; ``token_reward`` gives
            each token the reward minus the penalties from it on, see `token_advantages`. In a
            reward it compares the policy before the batch with the reference.
        kl_coefficient: The factor of the penalty; 0 needs no reference.
        kl_target: The mean penalty of a token that `adapted_kl_coefficient` holds by changing the
            coefficient after every step; None: the coefficient is constant.
        kl_horizon: `adapted_kl_coefficient`, in rollouts.
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
    kl_in: KLPlace = "loss"
    kl_coefficient: _NotNegative = 0.0
    kl_target: Positive | None = None
    kl_horizon: Count = 10_000
    entropy_coefficient: float = 0.0

    def _check_together(self) -> None:
        if self.surrogate == "cispo" and (self.level != "token" or self.dual_clip is not None):
            raise ValueError(
                "surrogate: expected clipped with level='sequence' or a dual_clip, which cispo "
                f"does not have; got cispo with level={self.level!r}, dual_clip={self.dual_clip}"
            )
        if self.kl_target is not None and self.kl_coefficient == 0:
            raise ValueError(
                "kl_target: expected a kl_coefficient above 0 to begin with; got kl_coefficient=0"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the objective compares with a reference."""
        return self.kl_coefficient > 0

    @property
    def penalises_rewards(self) -> bool:
        """Whether `penalised_advantages` gives other advantages than `advantages`."""
        return self.kl_in == "token_reward" or (self.kl_in == "reward" and self.needs_reference)

    def advantages(
        self, rewards_BxKxN: ArrayLike, mask_BxKxN: ArrayLike | None = None
    ) -> jax.Array:
        """`group_advantages` with these settings; float32, of the shape of the rewards.

        Rewards ``[B, G]`` hold one order each. A penalty in the reward is not in them; see
        `penalised_advantages`.
        """
        rewards = jnp.asarray(rewards_BxKxN)
        mask = jnp.ones(rewards.shape, bool) if mask_BxKxN is None else jnp.asarray(mask_BxKxN)
        groups = self._groups(rewards.shape)
        advantages = group_advantages(
            rewards.reshape(groups),
            mask.reshape(groups),
            baseline=self.baseline,
            scale=self.scale,
            ddof=self.ddof,
        )
        return advantages.reshape(rewards.shape)

    def penalised_advantages(
        self,
        rewards_BxKxN: ArrayLike,
        penalties_BxKxNxR: ArrayLike,
        mask_BxKxNxR: ArrayLike,
        coefficient: ArrayLike | None = None,
    ) -> jax.Array:
        """Advantages of rewards with the penalty in them.

        Args:
            rewards_BxKxN: The rewards, or ``[B, G]``.
            penalties_BxKxNxR: `penalty` of the policy before the batch, or ``[B, G, R]``.
            mask_BxKxNxR: Which tokens count, of the same shape.
            coefficient: In place of ``kl_coefficient``, if it changes over the run.

        Returns:
            float32 ``[B, K, N, R]`` with ``kl_in="token_reward"``, else ``[B, K, N]``.

        Raises:
            ValueError: The penalty belongs in the loss.
        """
        rewards, mask = jnp.asarray(rewards_BxKxN), jnp.asarray(mask_BxKxNxR)
        factor = self.kl_coefficient if coefficient is None else coefficient
        penalties = factor * keep(jnp.asarray(penalties_BxKxNxR), mask != 0)
        match self.kl_in:
            case "loss":
                raise ValueError("kl_in: expected reward or token_reward; got loss")
            case "reward":
                penalised = rewards - jnp.sum(penalties, axis=-1)
                return self.advantages(penalised, jnp.any(mask != 0, axis=-1))
            case "token_reward":
                groups = self._groups(rewards.shape)
                advantages = token_advantages(
                    rewards.reshape(groups),
                    penalties.reshape(*groups, -1),
                    mask.reshape(*groups, -1),
                    baseline=self.baseline,
                    scale=self.scale,
                    ddof=self.ddof,
                )
                return advantages.reshape(mask.shape)
            case _:
                assert_never(self.kl_in)

    def _groups(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of rewards whose last axis is a group."""
        return (shape[0], math.prod(shape[1:])) if self.pool_orders else shape

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

    def next_kl_coefficient(
        self, coefficient: ArrayLike, kl: ArrayLike, rollouts: ArrayLike
    ) -> jax.Array:
        """`adapted_kl_coefficient` with these settings; the same one without a target."""
        if self.kl_target is None:
            return jnp.asarray(coefficient)
        settings = {"target": self.kl_target, "horizon": self.kl_horizon}
        return adapted_kl_coefficient(coefficient, kl, rollouts, **settings)


PRESETS: dict[Preset, Objective] = {
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
    # "Back to Basics", arXiv 2402.14740: REINFORCE on whole responses, the KL divergence of the
    # response in its reward. It neither clips nor reuses a batch; the clips here act only from a
    # batch's second update on. The paper tunes its coefficient; 0.05 is TRL's.
    "rloo": Objective(
        baseline="leave_one_out",
        scale="none",
        aggregation="sequence_mean_token_sum",
        kl="k1",
        kl_in="reward",
        kl_coefficient=0.05,
    ),
    # REINFORCE++, arXiv 2501.03262: no groups; the KL divergence to come in the reward of a token,
    # then all tokens of the batch normalised. Population deviation, clip and coefficient are the
    # defaults of OpenRLHF, the authors' code.
    "reinforce_pp": Objective(
        baseline="batch_mean",
        scale="batch_std",
        ddof=0,
        kl="k1",
        kl_in="token_reward",
        kl_coefficient=0.01,
    ),
    # PeRL, arXiv 2506.14907, as its released settings have it: GRPO with verl's defaults.
    "perl": Objective(dual_clip=3.0, aggregation="token_mean", kl_coefficient=0.01),
}
"""Published objectives by name, with the values of their papers."""


@dataclass(frozen=True)
class ObjectiveConfig(Objective):
    """The objective. A field that is not given has the value of the ``preset``.

    Most fields are arguments of the function that is named beside them; docs/objectives.md has the
    values of every preset.

    Attributes:
        preset: A published objective. In Python, take it from ``PRESETS``: this name only stands
            for its values where a configuration is read.
    """

    dual_clip: Annotated[float, Gt(1), Expects("a number > 1")] | None = 3.0
    kl_coefficient: _NotNegative = 0.01
    preset: Preset = "perl"

    @classmethod
    def _unset(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of the preset."""
        preset = PRESETS[given.get("preset", cls.preset)]
        return {item.name: getattr(preset, item.name) for item in fields(preset)}
