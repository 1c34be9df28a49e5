"""The least time of a call, from its operations, its HBM traffic and its collectives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from perl_jax.models import PolicyConfig
from perl_jax.planning.collectives import Collective
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import Work
from perl_jax.settings import Checked, Expects

# Attention scores: the softmax writes and reads float32, the product with the values writes and
# reads bfloat16. No kernel of this project keeps them on the chip.
_BYTES_OF_A_PAIR = 4 + 4 + 2 + 2


_Share = Annotated[float, Interval(gt=0, le=1), Expects("a share from above 0 to 1")]


@dataclass(frozen=True)
class Assumptions(Checked):
    """The assumptions of a plan about the chips, as shares.

    Attributes:
        compute: The share of the peak rate that matrix products reach.
        memory: The share of the HBM bandwidth that is reached.
        links: The share of the interconnect bandwidth that is reached.
        reserve: The share of the HBM that is left free for the runtime, fragmentation and a second
            micro-batch that waits.
    """

    compute: _Share = 0.5
    memory: _Share = 0.8
    links: _Share = 0.8
    reserve: Annotated[float, Interval(gt=-1, le=1), Expects("a share from above -1 to 1")] = 0.06

    def lines(self) -> list[str]:
        """The assumptions in words."""
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
        compute: Time of matrix products.
        memory: Time of HBM traffic.
        links: Time of collectives.
    """

    compute: float
    memory: float
    links: float

    @property
    def total(self) -> float:
        """The time of the slowest part, in seconds."""
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
        assumptions: The shares of peak rates that the chips reach.
        flops: Floating-point operations on all chips together.
        traffic: Bytes that one chip reads from and writes to its HBM.
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
    """Bytes that a chip moves from and to its HBM in a call, under the plan's assumptions.

    Args:
        work: The work of the chip.
        model: The sizes of the policy.
        own: Bytes of the call's arguments on one chip, by kind.
        tensor: The number of parts that each layer is split into.
        itemsize: Bytes of one element of an activation.
    """
    once = model.traffic(tensor)
    # A decoding step reads the weights once for all of its tokens.
    repeats = 1 if work.steps else work.passes
    return (
        work.passes * once.text_weights * itemsize
        + work.tokens * repeats * once.of_token * itemsize
        + work.pairs * repeats * once.of_pair * _BYTES_OF_A_PAIR
        + work.image_passes * (once.vision_weights + work.patches * once.of_patch) * itemsize
        + work.steps * own.get("caches", 0)
        + 2 * own.get("gradients", 0)
    )
