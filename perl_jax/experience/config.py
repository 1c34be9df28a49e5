"""How experience is made: how responses are drawn, in which orders, and which groups are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perl_jax.filtering import Bounds, Refill
from perl_jax.mesh import MeshConfig
from perl_jax.permutation import Schedule, rules_from_config
from perl_jax.rollout import SamplerConfig


@dataclass(frozen=True)
class RolloutConfig:
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

    groups: int = 128
    num_rollouts: int = 6
    max_new_tokens: int = 2048
    temperature: float = 1.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    mesh: MeshConfig | None = None

    def __post_init__(self) -> None:
        for name in ("groups", "num_rollouts", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1; got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(
                f"temperature: expected a positive number, as greedy rollouts of a prompt are all "
                f"the same; got {self.temperature}"
            )


@dataclass(frozen=True)
class PermutationConfig:
    """In which orders examples are shown.

    Attributes:
        num_orders: Permuted orders beside an example's own; 0 is plain GRPO.
        schedule: The course of the rate at which examples get them.
        rules: The user's rules by source, as `rules_from_config` reads them; they come before the
            built-in ones.
        unknown: ``error``, or ``keep`` to leave examples of an undeclared source in order.
    """

    num_orders: int = 1
    schedule: Schedule = field(default_factory=Schedule)
    rules: Mapping[str, Any] = field(default_factory=dict)
    unknown: str = "error"

    def __post_init__(self) -> None:
        if self.num_orders < 0:
            raise ValueError(f"num_orders: expected at least 0; got {self.num_orders}")
        rules_from_config(self.rules)
        if self.unknown not in ("error", "keep"):
            raise ValueError(f"unknown: expected error or keep; got {self.unknown!r}")


@dataclass(frozen=True)
class GroupFilterConfig:
    """Which groups inform.

    Attributes:
        enabled: Whether groups that do not inform are dropped and replaced.
        bounds: The mean accuracies that are kept.
        max_draws: At most so many times ``groups`` are drawn for a step.
    """

    enabled: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    max_draws: int = 4

    def __post_init__(self) -> None:
        if self.max_draws < 1:
            raise ValueError(f"max_draws: expected at least 1; got {self.max_draws}")

    def refill(self, groups: int) -> Refill:
        """The state of a step's draw."""
        bounds = self.bounds if self.enabled else Bounds(0.0, 1.0, inclusive=True)
        return Refill(groups, self.max_draws * groups if self.enabled else groups, bounds)
