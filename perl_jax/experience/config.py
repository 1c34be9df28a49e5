"""How experience is made: how responses are drawn, in which orders, and which groups are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from perl_jax.filtering import Bounds, Refill
from perl_jax.mesh import MeshConfig
from perl_jax.permutation import Schedule, rules_from_config
from perl_jax.rollout import SamplerConfig
from perl_jax.rollout.config import Temperature
from perl_jax.settings import Checked, Count, CountOrZero, Expects


@dataclass(frozen=True)
class RolloutConfig(Checked):
    """How responses are drawn.

    Attributes:
        groups: B, the informative groups of a step.
        num_rollouts: N, of every order.
        max_new_tokens: The most tokens of a response.
        temperature: Divides the logits; the update does the same.
        sampler: How work is cut.
        mesh: How the devices are laid out for it, where not as for the update: for this the policy
            is copied once a step. A tensor axis that just fits the parameters and the caches, and
            ``data`` for the rest, is fast: nothing of the weights is sent between the devices.
    """

    groups: Count = 128
    num_rollouts: Count = 6
    max_new_tokens: Count = 2048
    temperature: Temperature = 1.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    mesh: MeshConfig | None = None


@dataclass(frozen=True)
class PermutationConfig(Checked):
    """In which orders examples are shown.

    Attributes:
        num_orders: Permuted orders beside an example's own; 0 is plain GRPO.
        schedule: The course of the rate at which examples get them.
        rules: The user's rules by source, as `rules_from_config` reads them; they come before the
            built-in ones.
        unknown: ``error``, or ``keep`` to leave examples of an undeclared source in order.
    """

    num_orders: CountOrZero = 1
    schedule: Schedule = field(default_factory=Schedule)
    rules: Mapping[str, Any] = field(default_factory=dict)
    unknown: Annotated[Literal["error", "keep"], Expects("error or keep")] = "error"

    def _check_together(self) -> None:
        rules_from_config(self.rules)


@dataclass(frozen=True)
class GroupFilterConfig(Checked):
    """Which groups inform.

    Attributes:
        enabled: Whether groups that do not inform are dropped and replaced.
        bounds: The mean accuracies that are kept.
        max_draws: At most so many times ``groups`` are drawn for a step.
    """

    enabled: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    max_draws: Count = 4

    def refill(self, groups: int) -> Refill:
        """The state of a step's draw."""
        bounds = self.bounds if self.enabled else Bounds(0.0, 1.0, inclusive=True)
        return Refill(groups, self.max_draws * groups if self.enabled else groups, bounds)
