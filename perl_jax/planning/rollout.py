"""The programs of the sampler on a mesh, in the shapes in which a step calls them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.buckets import Ladder
from perl_jax.config import TrainConfig
from perl_jax.mesh import SHARD_AXES, BatchSharding
from perl_jax.models import Policy
from perl_jax.models.policy import PromptInputs
from perl_jax.planning.programs import Program, Work, ceil_div, power_of_two
from perl_jax.planning.shapes import everywhere, on_mesh, results
from perl_jax.planning.workload import Step, Workload, make_groups
from perl_jax.rollout import Strategy, decode_state, programs
from perl_jax.rollout.features import plan_encoding

_STOP_TOKENS = 2


def rollout_programs(
    config: TrainConfig,
    model: Policy,
    mesh: Mesh,
    step: Step,
    workload: Workload,
    kind: str = "parameters",
) -> list[Program]:
    """Encoding, reading and decoding of one step.

    Args:
        config: Of the run.
        model: The policy as it lies for rollouts, of shapes.
        mesh: That it lies on.
        step: The numbers of a step.
        workload: Its examples.
        kind: Of memory, that the policy is.
    """
    return _Rollout(config, model, mesh, step, workload, kind).listed()


class _Rollout:
    def __init__(
        self,
        config: TrainConfig,
        model: Policy,
        mesh: Mesh,
        step: Step,
        workload: Workload,
        kind: str,
    ) -> None:
        self.kind = kind
        self.config, self.sizes, self.mesh = config, model.config, mesh
        self.sampler, self.step, self.workload = config.rollout.sampler, step, workload
        self.dtype = model.compute_dtype
        self.definition, self.parameters = nnx.split(model)
        self.sharding = BatchSharding.of(mesh)
        self.plan = plan_encoding(
            make_groups(config.rollout.groups, step, workload, model.config),
            Ladder("patches", self.sampler.patches),
            model.config.patches_per_unit,
            self.sharding,
        )
        self.slots = self.sampler.slots(step.longest)
        self.rung = Ladder("prompt_lengths", self.sampler.prompt_lengths).fit(
            step.prompt, "prompt length"
        )

    def listed(self) -> list[Program]:
        return [
            *([self._encode()] if self.workload.images else []),
            self._prefill(),
            *self._resize(),
            self._decode(),
            *self._compact(),
        ]

    def _encode(self) -> Program:
        """The first of the calls; the last one may be smaller."""
        batches, patches = self.plan.calls[0]
        grids = [[image.grid for image in batch] for batch in batches]
        sizes = self.sizes.image_sizes(grids, num_patches=patches)
        packed = jax.tree.map(lambda part: part[None], sizes.pack(batches[0]))
        images = self.sharding.shapes(packed)
        return Program(
            "encode",
            len(self.plan.calls),
            programs.encode,
            (self.definition, self.mesh, self.parameters, images),
            {self.kind: self.parameters, "batch": images},
            work=Work(patches=patches),
            image_passes=1,
        )

    def _features(self) -> Any:
        shape = (self.sharding.num_shards, self.plan.padded_rows, *self.sizes.feature_shape)
        return on_mesh(self.mesh, shape, self.dtype, SHARD_AXES)

    def _prefill(self) -> Program:
        most = self.sharding.num_shards * max(1, self.sampler.prefill_tokens // self.rung)
        orders = min(self._places(), most)
        shape = (orders, self.rung)
        prompts = PromptInputs(
            # The host gives them to all devices.
            tokens=on_mesh(self.mesh, shape, jnp.int32),
            positions=on_mesh(self.mesh, (3, *shape), jnp.int32),
            valid=on_mesh(self.mesh, shape, bool),
            feature_rows=on_mesh(self.mesh, shape, jnp.int32),
            images=None,
        )
        features = self._features()
        split = self.sharding.num_shards
        return Program(
            "prefill",
            ceil_div(self.step.orders, orders),
            programs.prefill,
            (self.definition, self.mesh, self.parameters, features, prompts),
            {self.kind: self.parameters, "features": features, "batch": prompts},
            {"caches": self._state(self.slots[-1])},
            work=Work(tokens=orders * self.rung / split, pairs=orders * self.rung**2 / split),
            passes=1,
        )

    def _places(self) -> int:
        at_once = max(1, self.sampler.rows // self.config.rollout.num_rollouts)
        wanted = min(self.step.orders, at_once)
        return self.sharding.num_shards * power_of_two(ceil_div(wanted, self.sharding.num_shards))

    def _state(self, slots: int) -> decode_state.DecodeState:
        sizes = (self._places(), self.config.rollout.num_rollouts, self.rung, slots)
        state: decode_state.DecodeState = results(
            decode_state.empty_state, self.sizes, self.dtype, self.mesh, sizes, False
        )
        return state

    def _resize(self) -> list[Program]:
        """The last time that caches grow, beside the old ones."""
        *smaller, largest = self.slots
        if not smaller:
            return []
        state = self._state(smaller[-1])
        shift = on_mesh(self.mesh, (), jnp.int32)
        return [
            Program(
                "resize",
                len(smaller),
                decode_state.resize,
                (self.mesh, largest, state.cache, shift),
                {"caches": state},
                {self.kind: self.parameters, "features": self._features()},
            )
        ]

    def _compact(self) -> list[Program]:
        """The first time that half the rows are left out."""
        places, rollouts = self._places(), self.config.rollout.num_rollouts
        of_shard = places // self.sharding.num_shards
        if self.sampler.refill and of_shard > 1:
            places //= 2
        elif self.sampler.refill and rollouts > 1:
            rollouts = power_of_two(rollouts) // 2
        else:
            return []
        state = self._state(self.slots[-1])
        orders = on_mesh(self.mesh, (places,), jnp.int32)
        columns = on_mesh(self.mesh, (places, rollouts), jnp.int32)
        return [
            Program(
                "compact",
                (of_shard * self.config.rollout.num_rollouts).bit_length() - 1,
                decode_state.compact,
                (self.mesh, state, orders, columns),
                {"caches": state},
                {self.kind: self.parameters, "features": self._features()},
            )
        ]

    def _decode(self) -> Program:
        places, rollouts = self._places(), self.config.rollout.num_rollouts
        chunk = self.sampler.chunk
        state = self._state(self.slots[-1])
        arguments = (
            self.definition, False, self.mesh, chunk, self.parameters, state,
            on_mesh(self.mesh, (), jnp.int32), self._rows(places, rollouts), self._drawing(),
        )  # fmt: skip
        return Program(
            "decode",
            ceil_div(self._decode_steps(places), chunk),
            programs.decode,
            arguments,
            {self.kind: self.parameters, "caches": state},
            {"features": self._features()},
            steps=chunk,
            work=Work(tokens=chunk * places * rollouts / self.sharding.num_shards),
            passes=chunk,
        )

    def _decode_steps(self, places: int) -> int:
        """Rows are refilled: the batch is full until the last rollouts, which end one by one."""
        full = ceil_div(self.step.orders * self.step.mean, places)
        return full + self.step.longest - self.step.mean

    def _rows(self, places: int, rollouts: int) -> programs.Rows:
        def of(shape: tuple[int, ...], dtype: Any) -> Any:
            return on_mesh(self.mesh, shape, dtype, SHARD_AXES)

        return programs.Rows(
            start=of((places,), jnp.int32),
            position=of((places,), jnp.int32),
            streams=of((places, rollouts, 2), jnp.uint32),
            done=of((places, rollouts), bool),
        )

    def _drawing(self) -> programs.Drawing:
        strategy = Strategy(temperature=self.config.rollout.temperature)
        return programs.Drawing(
            parameters=everywhere(self.mesh, strategy.parameters()),
            banned=on_mesh(self.mesh, (self.sizes.vocab_size,), bool),
            stops=on_mesh(self.mesh, (_STOP_TOKENS,), jnp.int32),
            limit=on_mesh(self.mesh, (), jnp.int32),
        )
