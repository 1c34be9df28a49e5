"""Settings of a step's rollouts: sampling, permuted orders and the group filter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from perl_jax.filtering import Bounds, Refill
from perl_jax.mesh import MeshConfig
from perl_jax.permutation import Schedule, rules_from_config
from perl_jax.rollout import SamplerConfig, Strategy
from perl_jax.rollout.config import StrategyConfig, Temperature
from perl_jax.settings import Checked, Count, CountOrZero, Expects


@dataclass(frozen=True)
class RolloutConfig(StrategyConfig):
    """Sampling settings.

    With ``top_k``, ``top_p`` or ``min_p``, rollouts are off-policy: not draws of the policy that is
    updated. All log-probabilities, the sampler's too, stay those of the whole policy, so neither
    ratios nor importance weights correct for it; see docs/objectives.md.

    Attributes:
        groups: B, the informative groups of a step.
        num_rollouts: N, the responses to each order.
        max_new_tokens: The most tokens of a response.
        temperature: Divides the logits, also in the update.
        sampler: How work is cut into compiled calls.
        mesh: Another mesh for sampling, to which the policy is copied once a step; None: the
            update's. Fast is the smallest tensor axis with room for parameters and caches, and
            ``data`` for the rest: no weights are then sent between devices.
        merge_adapters: Whether rollouts have adapters (``learner.lora``) merged into a copy of the
            weights, or beside them; None: merged where the policy is copied to ``mesh`` anyway.
    """

    groups: Count = 128
    num_rollouts: Count = 6
    max_new_tokens: Count = 2048
    temperature: Temperature = 1.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    mesh: MeshConfig | None = None
    merge_adapters: bool | None = None

    def strategy(self) -> Strategy:
        """How the tokens of rollouts are drawn."""
        return self.strategy_at(self.temperature)


@dataclass(frozen=True)
class PermutationConfig(Checked):
    """The orders in which examples are shown.

    Attributes:
        num_orders: Permuted orders beside an example's own; 0 is plain GRPO.
        schedule: The share of permuted examples over the run.
        rules: Your rules by source, see `rules_from_config`; they precede the built-in ones.
        constant_groups: Whether an example that keeps its order has as many responses as one that
            is shown in others, as in the paper; otherwise it has ``num_rollouts``.
        unknown: ``error``, or ``keep`` to leave examples of a source without a rule in order.
    """

    num_orders: CountOrZero = 1
    schedule: Schedule = field(default_factory=Schedule)
    rules: Mapping[str, Any] = field(default_factory=dict)
    constant_groups: bool = True
    unknown: Annotated[Literal["error", "keep"], Expects("error or keep")] = "error"

    def _check_together(self) -> None:
        rules_from_config(self.rules)


@dataclass(frozen=True)
class GroupFilterConfig(Checked):
    """The filter that keeps informative groups.

    Attributes:
        enabled: Whether other groups are dropped and replaced.
        bounds: The mean accuracies that are kept.
        max_draws: The most groups drawn for a step, as a multiple of ``rollout.groups``.
        max_empty_steps: The run ends after so many steps in a row without an informative group.
    """

    enabled: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    max_draws: Count = 4
    max_empty_steps: Count = 10

    def refill(self, groups: int) -> Refill:
        """The initial state of a step's draws; without the filter, it draws ``groups`` once."""
        bounds = self.bounds if self.enabled else Bounds(0.0, 1.0, inclusive=True)
        return Refill(groups, self.max_draws * groups if self.enabled else groups, bounds)
