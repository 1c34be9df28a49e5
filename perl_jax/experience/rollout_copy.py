"""A copy of the policy on a mesh for rollouts that differs from the update's.

Decoding reads every weight at every step: parameters that are split for the update would be
gathered each time. Instead they are copied once a training step, in the compute dtype and with
adapters merged.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.models.lora import merged
from perl_jax.models.paths import with_leaves


class RolloutCopy:
    """Copies a policy to ``mesh``, the rollouts', by the compiled ``program`` of its parameters.

    Without adapters the copy computes exactly what the policy does, which casts parameters at every
    use anyway.
    """

    def __init__(self, model: Policy, mesh: Mesh, rollout_mesh: Mesh) -> None:
        """Prepares the copy between two meshes of the same devices in the same order.

        Raises:
            ValueError: A host feeds other shards of one mesh than of the other.
        """
        feeds, of_rollouts = (BatchSharding.of(one).feed_of_host for one in (mesh, rollout_mesh))
        if feeds != of_rollouts:
            raise ValueError(
                "rollout.mesh: expected every host to feed shards of its own, as in mesh; got "
                f"{dict(rollout_mesh.shape)} and {dict(mesh.shape)}: a tensor axis that divides "
                "the devices of a host has no such difference"
            )
        self.mesh = rollout_mesh
        given = nnx.split(model)[0]
        self._definition, state = nnx.split(nnx.eval_shape(merged, model))
        dtype = model.compute_dtype

        def copied(parameters: Any) -> Any:
            whole = nnx.split(merged(nnx.merge(given, parameters)))[1]
            return jax.tree.map(lambda leaf: leaf.astype(dtype), whole)

        def place(path: str, leaf: Any) -> NamedSharding:
            return model.config.sharding(path, leaf.shape, rollout_mesh)

        self.program: Callable[[Any], Any] = jax.jit(
            copied, out_shardings=with_leaves(state, place)
        )

    def __call__(self, model: Policy) -> Policy:
        """The copy; the model keeps its own arrays."""
        return nnx.merge(self._definition, self.program(nnx.split(model)[1]))
