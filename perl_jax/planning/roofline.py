"""How long a call takes at least: what it computes, moves in a chip and moves between chips."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig
from perl_jax.planning.collectives import Collective
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import Work

# Scores of attention: float32 written and read by the softmax, bfloat16 written and read by the
# product with the values. No kernel of this project keeps them on the chip.
_BYTES_OF_A_PAIR = 4 + 4 + 2 + 2


@dataclass(frozen=True)
class Assumptions:
    """What a plan supposes.

    Attributes:
        compute: Share of the peak that matrix products reach.
        memory: Share of the HBM's bandwidth that is reached.
        links: Share of the interconnect's bandwidth that is reached.
        reserve: Share of the HBM that is left free: for the runtime, fragments, and a second
            micro-batch that waits.
    """

    compute: float = 0.5
    memory: float = 0.8
    links: float = 0.8
    reserve: float = 0.06

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            low = -1.0 if name == "reserve" else 0.0
            if not low < value <= 1:
                raise ValueError(f"{name}: expected a share from above 0 to 1; got {value}")

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
    """Of one call.

    Attributes:
        compute: Of matrix products.
        memory: Of HBM traffic.
        links: Of collectives.
    """

    compute: float
    memory: float
    links: float

    @property
    def total(self) -> float:
        """Of the slowest."""
        return max(vars(self).values())

    @property
    def bound(self) -> str:
        """Which is the slowest."""
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
        assumptions: Shares of what they can do.
        flops: Operations of all chips together.
        traffic: Bytes that one chip moves from and to its HBM.
        collectives: Of the program.
    """
    chip, devices = topology.chip, topology.devices
    links = sum(one.received / chip.receives(one.group, devices) for one in collectives)
    return Seconds(
        compute=flops / devices / (chip.peak * assumptions.compute),
        memory=traffic / (chip.bandwidth * assumptions.memory),
        links=links / assumptions.links,
    )


def traffic_of(
    work: Work,
    model: Qwen2_5_VLConfig,
    own: Mapping[str, int],
    *,
    tensor: int,
    itemsize: int,
) -> float:
    """Bytes that a chip moves from and to its HBM in a call, by the assumptions that plans print.

    Args:
        work: Of the chip.
        model: The sizes of the policy.
        own: Bytes of the call's arguments on one chip, by kind.
        tensor: Parts that layers are split into.
        itemsize: Bytes of an activation.
    """
    text, vision = model.text, model.vision
    heads = text.num_heads * text.head_dim
    keys = text.num_kv_heads * text.head_dim
    split = (2 * heads + 2 * keys + 3 * text.intermediate_size) / tensor
    weights = text.num_layers * text.hidden_size * split
    weights += text.vocab_size * text.hidden_size / tensor
    of_token = text.num_layers * (4 * text.hidden_size + split)
    of_pair = text.num_layers * text.num_heads / tensor * _BYTES_OF_A_PAIR
    width = vision.hidden_size
    block = 4 * width**2 + 3 * width * vision.intermediate_size
    of_patch = vision.depth * (8 * width + 3 * vision.intermediate_size)
    # The weights of a step of decoding are read once for all of its tokens.
    repeats = 1 if work.steps else work.passes
    return (
        work.passes * weights * itemsize
        + work.tokens * repeats * of_token * itemsize
        + work.pairs * repeats * of_pair
        + work.image_passes * (vision.depth * block + work.patches * of_patch) * itemsize
        + work.steps * own.get("caches", 0)
        + 2 * own.get("gradients", 0)
    )
