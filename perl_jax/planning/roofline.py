"""The least time of a call, by what it computes, moves in a chip and moves between chips."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from perl_jax.models import PolicyConfig
from perl_jax.planning.collectives import Collective
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import Work
from perl_jax.settings import Checked, Expects

# Scores of attention: float32 written and read by the softmax, bfloat16 written and read by the
# product with the values. No kernel of this project keeps them on the chip.
_BYTES_OF_A_PAIR = 4 + 4 + 2 + 2


_Share = Annotated[float, Interval(gt=0, le=1), Expects("a share from above 0 to 1")]


@dataclass(frozen=True)
class Assumptions(Checked):
    """What a plan assumes about the chips.

    Attributes:
        compute: Share of the peak that matrix products reach.
        memory: Share of the HBM's bandwidth that is reached.
        links: Share of the interconnect's bandwidth that is reached.
        reserve: Share of the HBM that is left free: for the runtime, fragments, and a second
            micro-batch that waits.
    """

    compute: _Share = 0.5
    memory: _Share = 0.8
    links: _Share = 0.8
    reserve: Annotated[float, Interval(gt=-1, le=1), Expects("a share from above -1 to 1")] = 0.06

    def lines(self) -> list[str]:
        """In words."""
        return [
            f"Matrix products reach {self.compute:.0%} of the peak, HBM {self.memory:.0%} and "
            f"links {self.links:.0%} of their bandwidth.",
            "Computing, HBM and links overlap: a call takes as long as the slowest of them.",
            "FLOPs are counted from the jaxpr, padding included, and are spread evenly over chips; "
            "a conditional counts its dearest branch.",
            "HBM traffic: weights once a pass, caches once a decode step, inputs and results of "
            "matrix products, attention scores; all else is fused. Programs without the model read "
            "their arguments and write their results once.",
            "Collectives run as rings: over every axis of the torus where all chips take part, "
            "over one axis otherwise.",
            f"{self.reserve:.0%} of the HBM stay free.",
        ]


@dataclass(frozen=True)
class Seconds:
    """The parts of the time of one call, in seconds.

    Attributes:
        compute: For matrix products.
        memory: For HBM traffic.
        links: For collectives.
    """

    compute: float
    memory: float
    links: float

    @property
    def total(self) -> float:
        """The time of the slowest part."""
        return max(vars(self).values())

    @property
    def bound(self) -> str:
        """The name of the slowest part."""
        return max(vars(self), key=lambda name: vars(self)[name])


def seconds_of_call(
    topology: Topology,
    assumptions: Assumptions,
    *,
    flops: float,
    traffic: float,
    collectives: Iterable[Collective],
) -> Seconds:
    """The roofline of a call.

    Args:
        topology: The chips.
        assumptions: The shares of their peak rates that they reach.
        flops: Operations of all chips together.
        traffic: Bytes that one chip moves from and to its HBM.
        collectives: The collectives of the program.
    """
    chip, devices = topology.chip, topology.devices
    links = sum(one.received / chip.receives(one.group, devices) for one in collectives)
    return Seconds(
        compute=flops / devices / (chip.peak * assumptions.compute),
        memory=traffic / (chip.bandwidth * assumptions.memory),
        links=links / assumptions.links,
    )


def traffic_of(
    work: Work, model: PolicyConfig, own: Mapping[str, int], *, tensor: int, itemsize: int
) -> float:
    """Bytes that a chip moves from and to its HBM in a call, by the assumptions that plans print.

    Args:
        work: The work of the chip.
        model: The sizes of the policy.
        own: Bytes of the call's arguments on one chip, by kind.
        tensor: Parts that layers are split into.
        itemsize: Bytes of an activation.
    """
    once = model.traffic(tensor)
    # The weights of a step of decoding are read once for all of its tokens.
    repeats = 1 if work.steps else work.passes
    return (
        work.passes * once.text_weights * itemsize
        + work.tokens * repeats * once.of_token * itemsize
        + work.pairs * repeats * once.of_pair * _BYTES_OF_A_PAIR
        + work.image_passes * (once.vision_weights + work.patches * once.of_patch) * itemsize
        + work.steps * own.get("caches", 0)
        + 2 * own.get("gradients", 0)
    )
