"""The programs of the update on a mesh, in the shapes in which a step calls them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from perl_jax.config import TrainConfig
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.models.paths import VISION, within
from perl_jax.planning.programs import Program, Work, ceil_div
from perl_jax.planning.shapes import on_mesh
from perl_jax.planning.workload import Step, Workload, longest_responses, make_groups
from perl_jax.update.forward import Head
from perl_jax.update.losses import policy_gradient_loss
from perl_jax.update.optimizer import learning_rate_schedule, make_optimizer
from perl_jax.update.packing import MicroBatch, Sizes, pack
from perl_jax.update.programs import Programs
from perl_jax.update.state import SplitPolicy, TrainState, state_shardings

# Readings of the weights by the backward pass, beside that of the forward pass.
_BACKWARD = 2


def num_micro_batches(config: TrainConfig, shards: int) -> tuple[int, int]:
    """Groups of a shard in a micro-batch, and micro-batches of an update."""
    groups = ceil_div(config.rollout.groups // config.learner.updates_per_batch, shards)
    at_once = min(groups, ceil_div(config.learner.packing.micro_groups, shards))
    return at_once, ceil_div(groups, at_once)


class UpdatePrograms:
    """Scoring, gradients and the optimizer of one step.

    Attributes:
        state: What a run keeps, as shapes.
        micro_batches: Of an update.
    """

    def __init__(
        self, config: TrainConfig, model: Policy, mesh: Mesh, step: Step, workload: Workload
    ) -> None:
        self.config, self.sizes, self.mesh = config, model.config, mesh
        self.step, self.workload = step, workload
        self.sharding = BatchSharding.of(mesh)
        self.policy = SplitPolicy(model, config.learner.trainable, config.learner.frozen)
        self.params = self.policy.split(model)
        self.head = Head(
            config.rollout.temperature, config.learner.remat, config.learner.logprob_chunk, mesh
        )
        self.updates = config.learner.updates_per_batch
        self.compiled = self._programs()
        self.state = self._state()
        self.at_once, self.micro_batches = num_micro_batches(config, self.sharding.num_shards)

    def listed(self) -> list[Program]:
        """All of them, in the order of a step."""
        shard = self._shard()
        return [*self._score(shard), self._add(shard), self._apply()]

    def _programs(self) -> Programs:
        total = self.config.steps * self.updates
        optimizer = self.config.optimizer
        loss = partial(
            policy_gradient_loss,
            head=self.head,
            objective=self.config.objective,
            importance_cap=self.config.learner.importance_cap,
        )
        return Programs(
            self.policy,
            self.params,
            loss=loss,
            head=self.head,
            optimizer=make_optimizer(optimizer, total, self.params),
            schedule=learning_rate_schedule(optimizer, total),
            sharding=self.sharding,
        )

    def _state(self) -> TrainState:
        key = jax.random.key(self.config.seed)
        data, impl = jax.random.key_data(key), jax.random.key_impl(key)
        shapes = jax.eval_shape(
            lambda params, data: self.compiled.start(params, data, impl), self.params, data
        )
        places = state_shardings(shapes.optimizer, self.params, self.sharding.replicated)
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            places,
        )

    def _shard(self) -> MicroBatch:
        """One shard of a micro-batch whose responses are all as long as they may be."""
        groups = make_groups(self.at_once, self.step, self.workload, self.sizes)
        responses = longest_responses(self.at_once, self.step, self.config.rollout.num_rollouts)
        packing = self.config.learner.packing
        sizes = Sizes.of([groups], responses.lengths, packing, self.sizes)
        of_token = np.broadcast_to(np.float32(0), responses.tokens.shape)
        names = ["weights", "sampled"]
        names += ["old"] if self._scores_old else []
        names += ["reference"] if self._has_reference else []
        values = {
            "advantages": np.zeros(responses.lengths.shape, np.float32),
            **dict.fromkeys(names, of_token),
        }
        return pack(groups, responses, values, self.sizes, sizes)

    @property
    def _scores_old(self) -> bool:
        return self.updates > 1 or self.config.learner.recompute_old

    @property
    def _has_reference(self) -> bool:
        return self.config.objective.kl_coefficient > 0

    @property
    def _banned(self) -> jax.ShapeDtypeStruct:
        return on_mesh(self.mesh, (self.sizes.vocab_size,), bool)

    def _kinds(self, **others: Any) -> Mapping[str, Any]:
        return {"parameters": self.params, "frozen": self.policy.frozen, **others}

    def _reference(self) -> dict[str, jax.ShapeDtypeStruct]:
        dtype = jnp.dtype(self.config.learner.reference_dtype)
        return {
            path: jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)
            for path, leaf in self.params.items()
        }

    def _work(self, shard: MicroBatch) -> Work:
        """Tokens and patches of a shard."""
        images, prompts, responses = shard.prompts.images, shard.prompts.tokens, shard.tokens
        length, own = prompts.shape[-1], responses.shape[-1]
        return Work(
            tokens=prompts.size + responses.size,
            pairs=prompts.size * length + responses.size * (length + own),
            patches=0 if images is None else images.patches.shape[1],
        )

    def _score(self, shard: MicroBatch) -> list[Program]:
        """Log-probabilities under the policy before the update, and under the reference."""
        values = {name: shard.values[name] for name in ("weights", "sampled", "advantages")}
        batch = self.sharding.shapes(replace(shard, values=values), MicroBatch.shard_axes)
        calls = self.micro_batches * self.updates

        def program(name: str, params: Any, kinds: Mapping[str, Any]) -> Program:
            return Program(
                name,
                calls,
                self.compiled.score,
                (params, self.policy.frozen, batch, self._banned),
                kinds,
                passes=1,
                image_passes=1,
                work=self._work(shard),
            )

        found = []
        if self._scores_old:
            found.append(program("score", self.params, self._kinds(batch=batch)))
        if self._has_reference:
            reference = self._reference()
            kinds = {"reference": reference, "frozen": self.policy.frozen, "batch": batch}
            found.append(program("reference", reference, kinds))
        return found

    def _gradients(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=leaf.sharding)
            for path, leaf in self.params.items()
        }

    def _add(self, shard: MicroBatch) -> Program:
        batch, gradients = self.sharding.shapes(shard, MicroBatch.shard_axes), self._gradients()
        again = 0 if self.config.learner.remat == "none" else 1
        vision = any(within(path, VISION) for path in self.params)
        return Program(
            "update",
            self.micro_batches * self.updates,
            self.compiled.add,
            (gradients, self.params, self.policy.frozen, batch, self._banned),
            self._kinds(gradients=gradients, batch=batch),
            passes=1 + _BACKWARD + again,
            image_passes=1 + (_BACKWARD + again) * vision,
            work=self._work(shard),
        )

    def _apply(self) -> Program:
        gradients = self._gradients()
        return Program(
            "apply",
            self.updates,
            self.compiled.apply,
            (self.state, gradients),
            {
                "parameters": self.state.params,
                "optimizer": self.state.optimizer,
                "gradients": gradients,
            },
        )

    def resident(self) -> dict[str, Any]:
        """What stays on the chips all the time, by kind."""
        kinds: dict[str, Any] = {
            "parameters": self.params,
            "frozen": self.policy.frozen,
            "optimizer": self.state.optimizer,
        }
        if self._has_reference:
            kinds["reference"] = self._reference()
        return kinds
