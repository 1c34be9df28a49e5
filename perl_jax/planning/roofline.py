"""The time of a call, from its operations, its HBM traffic and its collectives."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from perl_jax.models import PolicyConfig
from perl_jax.planning.collectives import Collective
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import Work
from perl_jax.settings import Checked, Expects, PositiveOrZero

# Bytes of an attention score where XLA writes scores to HBM. Forward, the softmax writes and reads
# float32, and the product with the values writes and reads bfloat16. An update of a 7B policy
# compiled for v5e moves 42 bytes a score and layer forward and backward, and 12 more where remat
# repeats the forward pass.
_SCORE_FORWARD, _SCORE_BOTH = 12.0, 42.0

# A decoding step of XLA reads, slices, copies and writes the caches of responses.
_MOVES_BY_XLA = 5.0

_Share = Annotated[float, Interval(gt=0, le=1), Expects("a share from above 0 to 1")]
_AtLeastOnce = Annotated[float, Interval(ge=1), Expects("at least 1")]


@dataclass(frozen=True)
class Assumptions(Checked):
    """The assumptions of a plan about chips and kernels.

    Attributes:
        compute: The share of the peak rate that matrix products reach.
        memory: The share of the HBM bandwidth that is reached.
        links: The share of the interconnect bandwidth that is reached.
        reserve: The share of the HBM that is left free for the runtime, fragmentation and a second
            micro-batch that waits.
        kernels: The share of the peak rate that attention kernels reach.
        scores: The share of the attention scores that are written to HBM. None: all in a program
            that was compiled without attention kernels, and none in one with them.
        cache_moves: The number of times that a decoding step moves the caches of responses. None:
            once by a kernel, and 5 times without.
        host: Seconds that the chips wait for the host before a chunk of decoding that is not
            dispatched ahead.
    """

    compute: _Share = 0.6
    memory: _Share = 0.8
    links: _Share = 0.8
    reserve: Annotated[float, Interval(gt=-1, le=1), Expects("a share from above -1 to 1")] = 0.06
    kernels: _Share = 0.3
    scores: Annotated[float, Interval(ge=0, le=1), Expects("a share from 0 to 1")] | None = None
    cache_moves: _AtLeastOnce | None = None
    host: PositiveOrZero = 0.03

    def lines(self) -> list[str]:
        """The assumptions in words."""
        scores = "those of programs that were compiled without attention kernels"
        caches = (
            f"once by a kernel, which reads what responses own, and {_MOVES_BY_XLA:g} times without"
        )
        if self.scores is not None:
            scores = f"{self.scores:.0%} of them"
        if self.cache_moves is not None:
            caches = f"{self.cache_moves:g} times"
        return [
            f"Matrix products reach {self.compute:.0%} of the peak and those of attention kernels "
            f"{self.kernels:.0%}, HBM {self.memory:.0%} and links {self.links:.0%} of their "
            "bandwidth.",
            "A product overlaps with reading its inputs and writing its results, and with the "
            "collectives that the compiler starts ahead. Nothing overlaps with attention scores, "
            "caches, elementwise passes and all other collectives: their times are added.",
            "FLOPs are counted from the jaxpr, padding included, and are spread evenly over chips; "
            "a conditional counts its dearest branch. A call of another size than the compiled one "
            "takes its share of them.",
            "HBM traffic beside products: their inputs and results once more, for what stands "
            f"between them; attention scores, {scores}, {_SCORE_FORWARD:g} bytes each forward and "
            f"{_SCORE_BOTH - _SCORE_FORWARD:g} backward; in a decoding step, the prompts' caches "
            f"once and the responses' {caches}. Programs without the model read their arguments "
            "and write their results once.",
            f"The host takes {self.host:g} s before a chunk of decoding, unless it is dispatched "
            "ahead.",
            "Expected seconds are those of the cycles that the compiler expects, where it tells "
            "them, with attention kernels, collectives and the host as in the other seconds.",
            "Collectives run as rings: over every axis of the torus where all chips take part, "
            "over one axis otherwise.",
            f"{self.reserve:.0%} of the HBM stay free.",
        ]


@dataclass(frozen=True)
class Seconds:
    """The parts of the time of one call, in seconds.

    Attributes:
        compute: Matrix products.
        memory: HBM traffic of matrix products.
        ahead: Collectives that the compiler starts ahead.
        alone: HBM traffic that nothing overlaps with.
        links: Collectives that nothing overlaps with.
        host: Waiting for the host.
    """

    compute: float = 0.0
    memory: float = 0.0
    ahead: float = 0.0
    alone: float = 0.0
    links: float = 0.0
    host: float = 0.0

    @property
    def products(self) -> float:
        """The time of matrix products and of what overlaps with them."""
        return max(self.compute, self.memory, self.ahead)

    @property
    def total(self) -> float:
        """The time of the call."""
        return self.products + self.alone + self.links + self.host

    @property
    def bound(self) -> str:
        """The resource that takes the most of it."""
        parts = {
            "compute": self.compute if self.compute == self.products else 0.0,
            "memory": self.alone + (self.memory if self.memory == self.products else 0.0),
            "links": self.links + (self.ahead if self.ahead == self.products else 0.0),
            "host": self.host,
        }
        return max(parts, key=lambda name: parts[name])


@dataclass(frozen=True)
class Traffic:
    """Bytes that a chip moves from and to its HBM.

    Attributes:
        products: Inputs and results of matrix products.
        alone: All else.
    """

    products: float = 0.0
    alone: float = 0.0

    @property
    def total(self) -> float:
        """Both together."""
        return self.products + self.alone


def seconds_of_call(
    topology: Topology,
    assumptions: Assumptions,
    *,
    flops: float,
    traffic: Traffic,
    collectives: Iterable[Collective],
    waits: float = 0.0,
    kernels: float = 0.0,
) -> Seconds:
    """The time of a call.

    Args:
        topology: The chips.
        assumptions: The shares of peak rates that the chips reach.
        flops: Floating-point operations on all chips together.
        traffic: Bytes that one chip reads from and writes to its HBM.
        collectives: The collectives of the program.
        waits: How often the chips wait for the host.
        kernels: Those of the operations that attention kernels do.
    """
    chip, devices = topology.chip, topology.devices
    links = {True: 0.0, False: 0.0}
    for one in collectives:
        rate = chip.receives(one.group, devices) * assumptions.links
        links[one.ahead] += one.received / rate
    bandwidth = chip.bandwidth * assumptions.memory
    return Seconds(
        compute=((flops - kernels) / assumptions.compute + kernels / assumptions.kernels)
        / (chip.peak * devices),
        memory=traffic.products / bandwidth,
        ahead=links[True],
        alone=traffic.alone / bandwidth,
        links=links[False],
        host=waits * assumptions.host,
    )


def traffic_of(
    work: Work,
    model: PolicyConfig,
    assumptions: Assumptions,
    *,
    of_patch: float = 0.0,
    gradients: int = 0,
    tensor: int,
    itemsize: int,
    kernels: bool = False,
) -> Traffic:
    """Bytes that a chip moves from and to its HBM in a call, under the plan's assumptions.

    Args:
        work: The work of the chip.
        model: The sizes of the policy.
        assumptions: Those about kernels and caches.
        of_patch: Attention scores of the vision tower, per patch.
        gradients: Bytes of the gradients on a chip that the call adds to.
        tensor: The number of parts that each layer is split into.
        itemsize: Bytes of one element of an activation.
        kernels: Whether attention is computed by kernels.
    """
    share, moves = assumptions.scores, assumptions.cache_moves
    if share is None:
        share = 0.0 if kernels else 1.0
    if moves is None:
        moves = 1.0 if kernels else _MOVES_BY_XLA
    once = model.traffic(tensor)
    # A decoding step reads the weights once for all of its tokens.
    repeats = 1 if work.steps else work.passes
    weights = work.passes * once.text_weights + work.image_passes * once.vision_weights
    moved = work.tokens * repeats * once.of_token
    moved += work.image_passes * work.patches * once.of_patch
    scores = work.pairs * once.of_pair * _bytes_of_score(repeats)
    scores += work.patches * of_patch * _bytes_of_score(work.image_passes)
    owned = work.owned if kernels else 1.0
    caches = work.steps * (work.prefix + moves * owned * work.cache)
    return Traffic(
        products=(weights + moved) * itemsize,
        alone=moved * itemsize + scores * share + caches + 2 * gradients,
    )


# Passes of an update without remat: forward, and backward for inputs and for weights.
_WITHOUT_REMAT = 3


def _bytes_of_score(passes: float) -> float:
    """Bytes that are moved for one attention score that so many passes read or write."""
    if passes <= 1:
        return _SCORE_FORWARD
    return _SCORE_BOTH + (_SCORE_FORWARD if passes > _WITHOUT_REMAT else 0.0)
