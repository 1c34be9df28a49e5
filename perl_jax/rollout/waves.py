"""Waves: groups that were added together, whose distinct images are encoded together, once."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from perl_jax.buckets import Ladder
from perl_jax.models.policy import ImageInputs
from perl_jax.rollout import programs
from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.features import EncodingPlan, plan_encoding
from perl_jax.rollout.runner import Runner
from perl_jax.types import Group, ImagePatches


@dataclass(eq=False)
class Wave:
    """The images of groups that were added together.

    Attributes:
        plan: The calls that encode them.
        waiting: Orders that were not read yet.
        features: The table of features ``[S, M, ...]`` while an order waits to be read with it.
    """

    plan: EncodingPlan
    waiting: int = 0
    features: jax.Array | None = None

    def read(self, orders: int) -> None:
        """Notes that so many orders need the features no more."""
        self.waiting -= orders
        if self.waiting == 0:
            self.features = None


class Encoder:
    """Encodes the images of waves.

    ``shared``: there are more waves like these, whose tables then get few sizes.
    """

    def __init__(self, runner: Runner, config: SamplerConfig, *, shared: bool) -> None:
        self._runner = runner
        self._ladder = Ladder("patches", config.rungs("patches"))
        # As many rows as one call may have: the tables of all small waves are of this size.
        self._least = self._ladder.rungs[-1] // runner.config.patches_per_unit if shared else 0

    def plan(self, groups: Sequence[Group]) -> Wave:
        """Plans the calls.

        Raises:
            ValueError: An image has more patches than the largest call.
        """
        unit, sharding = self._runner.config.patches_per_unit, self._runner.sharding
        return Wave(plan_encoding(groups, self._ladder, unit, sharding, least_rows=self._least))

    def encode(self, wave: Wave) -> None:
        """Makes the table of features, if it was not made before."""
        if wave.features is not None:
            return
        runner, plan = self._runner, wave.plan
        tables = [self._encode(*call) for call in plan.calls]
        shape = (runner.sharding.num_shards, plan.padded_rows, *runner.config.feature_shape)
        wave.features = runner.run(programs.join_features, runner.mesh, shape, runner.dtype, tables)

    def _encode(self, batches: Sequence[Sequence[ImagePatches]], patches: int) -> jax.Array:
        """Encodes the images of one call, each shard on its devices."""
        runner = self._runner
        grids = [[image.grid for image in batch] for batch in batches]
        sizes = runner.config.image_sizes(grids, num_patches=patches)

        def make(shard: int) -> ImageInputs:
            return jax.tree.map(lambda part: part[None], sizes.pack(batches[shard]))

        runner.stats["images"] += sum(map(len, batches))
        runner.stats["patches"] += sum(image.num_patches for batch in batches for image in batch)
        runner.stats["patches_padded"] += patches * len(batches)
        images = runner.sharding.put(make)
        encoded: jax.Array = runner.call(
            programs.encode, runner.definition, runner.mesh, runner.parameters, images
        )
        return encoded
