"""The time of a program's calls in a step: of what was compiled, scaled to what is called."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp

from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.models import PolicyConfig
from perl_jax.planning.collectives import received_bytes
from perl_jax.planning.facts import Facts
from perl_jax.planning.plan import ProgramPlan
from perl_jax.planning.rehearsal import OF_ROLLOUTS
from perl_jax.planning.roofline import (
    Assumptions,
    Seconds,
    Traffic,
    seconds_of_call,
    traffic_of,
)
from perl_jax.planning.simulation import Extent, LoggedCall
from perl_jax.planning.topology import Topology
from perl_jax.planning.workload import Step


@dataclass(frozen=True)
class _Cost:
    """One call; ``expected`` has no meaning where the compiler told no cycles."""

    flops: float
    traffic: float
    received: float
    seconds: Seconds
    expected: float


@dataclass(frozen=True)
class _Share:
    """What a call is of the compiled one: by operations of attention kernels, and by all others."""

    kernels: float
    others: float


@dataclass(frozen=True)
class Timing:
    """Gives the times of programs.

    Attributes:
        config: The run, with meshes that fit the chips.
        topology: The chips.
        assumptions: What is reached of them.
        sizes: The sizes of the policy.
        step: The numbers of a step.
    """

    config: TrainConfig
    topology: Topology
    assumptions: Assumptions
    sizes: PolicyConfig
    step: Step

    def program(
        self,
        facts: Facts,
        calls: Sequence[LoggedCall],
        unfiltered: Sequence[LoggedCall],
        waits: tuple[int, int] = (0, 0),
    ) -> ProgramPlan:
        """The plan of a program.

        Args:
            facts: What compiling it told.
            calls: Its calls in a step.
            unfiltered: Its calls if every group informed.
            waits: How many of these and of those wait for the host.
        """
        extents = [call.extent for call in (*calls, *unfiltered) if call.extent is not None]
        # A program is compiled in the largest shapes in which a step calls it.
        largest = max(extents, key=lambda extent: (extent.axis, extent.rows), default=None)
        costs, others = (
            [self._cost(facts, call, largest, waiting / len(of)) for call in of]
            for of, waiting in zip((calls, unfiltered), waits, strict=True)
        )
        once = costs or [self._cost(facts, LoggedCall(facts.size, facts.work))]
        return ProgramPlan(
            facts=facts,
            calls=len(calls),
            flops=_mean([cost.flops for cost in once]),
            traffic=_mean([cost.traffic for cost in once]),
            received=_mean([cost.received for cost in once]),
            seconds=_mean_seconds([cost.seconds for cost in once]),
            seconds_of_step=sum(cost.seconds.total for cost in costs),
            calls_unfiltered=len(unfiltered),
            seconds_unfiltered=sum(cost.seconds.total for cost in others),
            expected=None if self._told(facts) is None else sum(cost.expected for cost in costs),
        )

    def _cost(
        self, facts: Facts, call: LoggedCall, largest: Extent | None = None, waits: float = 0.0
    ) -> _Cost:
        traffic, times, lengths = Traffic(), 1.0, dict[int, float]()
        share = self._share(facts, call)
        if facts.work is None or call.work is None:
            traffic = Traffic(alone=facts.moved * share.others)
        else:
            traffic = traffic_of(
                call.work,
                self.sizes,
                self.assumptions,
                of_patch=self.sizes.image_scores(self.step.grid) / math.prod(self.step.grid),
                gradients=facts.memory.get("gradients", 0) if facts.name == "update" else 0,
                tensor=self._mesh(facts.name).tensor,
                itemsize=jnp.dtype(self.config.model.compute_dtype).itemsize,
                kernels=facts.kernels > 0,
            )
            if facts.work.steps:
                times = call.work.steps / facts.work.steps
            # Tokens are an axis of activations in a learner's programs.
            if facts.name not in OF_ROLLOUTS and facts.work.tokens:
                lengths[round(facts.work.tokens)] = call.work.tokens / facts.work.tokens
        kernels = facts.kernels * share.kernels
        flops = (facts.flops - facts.kernels) * share.others + kernels
        collectives = [
            one.scaled(lengths, times).shortened(_shares(call.extent, largest))
            for one in facts.collectives
        ]
        seconds = seconds_of_call(
            self.topology,
            self.assumptions,
            flops=flops,
            traffic=traffic,
            collectives=collectives,
            waits=waits,
            kernels=kernels,
        )
        expected = self._expected((self._told(facts) or 0.0) * share.others, kernels, seconds)
        return _Cost(flops, traffic.total, received_bytes(collectives), seconds, expected)

    def _share(self, facts: Facts, call: LoggedCall) -> "_Share":
        """What a call is of the compiled one."""
        if facts.work is None or call.work is None:
            size = call.size / facts.size if facts.size else 1.0
            return _Share(size, size)
        grid, patches = self.step.grid, math.prod(self.step.grid)
        of_patch = self.sizes.image_operations(grid) / patches
        of_patch_attention = self.sizes.image_attention(grid) / patches
        works = call.work, facts.work
        now, then = (work.operations(self.sizes, of_patch) for work in works)
        if facts.kernels == 0:
            return _Share(_over(now, then), _over(now, then))
        # Long responses are compared with all of their own tokens: attention shrinks by more.
        of_call, compiled = (work.attention(self.sizes, of_patch_attention) for work in works)
        return _Share(_over(of_call, compiled), _over(now - of_call, then - compiled))

    def _told(self, facts: Facts) -> float | None:
        """Seconds of the compiled program by the compiler's cycles; None: it told none."""
        clock = self.topology.chip.clock
        return None if facts.cycles is None or clock is None else facts.cycles / clock

    def _expected(self, own: float, kernels: float, seconds: Seconds) -> float:
        """The time of a call of which the compiler expects ``own`` seconds beside kernels."""
        own += kernels / (
            self.topology.chip.peak * self.topology.devices * self.assumptions.kernels
        )
        return max(own, seconds.ahead) + seconds.links + seconds.host

    def _mesh(self, name: str) -> MeshConfig:
        of_rollouts = self.config.rollout.mesh if name in OF_ROLLOUTS else None
        return of_rollouts or self.config.mesh or MeshConfig()


def _shares(extent: Extent | None, largest: Extent | None) -> dict[int, float]:
    """What a call has of an axis of orders, prompts or patches, by its length when compiled."""
    if extent is None or largest is None:
        return {}
    share = extent.rows / largest.rows
    return {largest.axis: share, largest.axis * largest.shards: share}


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_seconds(parts: Sequence[Seconds]) -> Seconds:
    """The mean of each part."""
    return Seconds(**{name: _mean([vars(one)[name] for one in parts]) for name in vars(parts[0])})
