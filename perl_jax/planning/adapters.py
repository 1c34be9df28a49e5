"""Whether rollouts are faster with adapters merged into a copy of the weights or beside them."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from perl_jax.chips import GIB
from perl_jax.config import TrainConfig
from perl_jax.models import Policy
from perl_jax.models.lora import adapted_maps
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.simulation import Log
from perl_jax.planning.topology import Topology


@dataclass(frozen=True)
class AdapterChoice:
    """What either way adds to a step.

    Attributes:
        merged: Seconds of merging and copying.
        beside: Seconds of the products of adapters in all rollouts.
        copy: Bytes of a chip for the copy; 0: there is one anyway.
        room: Bytes of a chip that rollouts leave free without it.
    """

    merged: float
    beside: float
    copy: int
    room: int

    @property
    def merges(self) -> bool:
        """Whether merging is faster and has room."""
        return self.merged < self.beside and self.copy <= self.room

    def line(self) -> str:
        """The choice in words."""
        room = ""
        if self.copy:
            room = (
                f" and {self.copy / GIB:.1f} GiB of the {max(0, self.room) / GIB:.1f} that are left"
            )
        return (
            f"Adapters in rollouts: merged into the weights they add {self.merged:.2g} s a step"
            f"{room}, beside them {self.beside:.2g} s: "
            f"--config.rollout.merge_adapters={self.merges}."
        )


def choose(
    config: TrainConfig,
    model: Policy,
    topology: Topology,
    assumptions: Assumptions,
    calls: Log,
    free: int,
) -> AdapterChoice:
    """Estimates both.

    Args:
        config: A run with adapters.
        model: Its policy, as shapes.
        topology: The chips.
        assumptions: What is reached of them.
        calls: The calls of a step.
        free: Bytes of a chip that its programs for rollouts leave, with the copy if there is one.
    """
    chip = topology.chip
    rate = chip.peak * assumptions.compute
    bandwidth = chip.bandwidth * assumptions.memory
    mesh, on = config.mesh, config.rollout.mesh
    copied = on is not None and on != mesh
    parts = (on if copied and on else mesh) or None
    tensor = 1 if parts is None else parts.tensor
    itemsize = jnp.dtype(config.model.compute_dtype).itemsize

    of = _Numbers.of(model)
    tokens = steps = 0.0
    for one in (*calls.get("decode", ()), *calls.get("prefill", ())):
        if one.work is not None:
            tokens += one.work.tokens
            steps += max(1, one.work.steps)
    # Beside: adapters, which are float32, are read once a step; results are written and added.
    moved = steps * of.adapters * 4 + tokens * 4 * of.results * itemsize
    beside = tokens * 2 * of.adapters / tensor / rate + moved / tensor / bandwidth
    # Merged: each chip computes and writes its part, and reads the weights and the product.
    chips = topology.devices
    merged = of.product / chips / rate + of.weights / chips * (itemsize + 3 * 4) / bandwidth
    copy = 0
    if not copied:
        whole = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) * itemsize
        copy = whole // (1 if mesh is None else mesh.fsdp * mesh.tensor)
        merged += 2 * copy / bandwidth
    made = config.rollout.merge_adapters and not copied
    return AdapterChoice(merged, beside, copy, free + copy if made else free)


@dataclass(frozen=True)
class _Numbers:
    """Sums over all maps that have adapters.

    Attributes:
        weights: Numbers in their weights.
        adapters: Numbers in their adapters.
        product: Operations of multiplying the adapters' matrices.
        results: Results for a token, of the maps and of the lower half of the adapters.
    """

    weights: int
    adapters: int
    product: int
    results: int

    @classmethod
    def of(cls, model: Policy) -> "_Numbers":
        weights = adapters = product = results = 0
        for linear in adapted_maps(model).values():
            *layers, out, into = linear.weight.get_value().shape
            count, rank = math.prod(layers), linear.lora_A.get_value().shape[-2]
            weights += count * out * into
            adapters += count * rank * (out + into)
            product += 2 * count * rank * out * into
            results += count * (out + rank)
        return cls(weights, adapters, product, results)
