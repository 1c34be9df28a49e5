"""A copy of the policy for rollouts: on another mesh than the update's, or with merged adapters.

Decoding reads every weight at every step: parameters that are split for the update would be
gathered each time, and adapters beside them add products to every step. Instead the parameters are
copied once a training step, in the compute dtype.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.models.lora import DOWN, is_adapter, merged, shardings_beside
from perl_jax.models.paths import leaves_of, with_leaves


class RolloutCopy:
    """Copies a policy to ``mesh``, the rollouts', by the compiled ``program`` of its parameters.

    Without adapters the copy computes exactly what the policy does, which casts parameters at every
    use anyway. Adapters that stay beside the weights stay float32.
    """

    def __init__(
        self, model: Policy, mesh: Mesh | None, rollout_mesh: Mesh | None, *, merge: bool = True
    ) -> None:
        """Prepares the copy between two meshes of the same devices in the same order.

        Args:
            model: The policy.
            mesh: The mesh of the update; None: a single device.
            rollout_mesh: The mesh of the rollouts; it may be the same.
            merge: Whether adapters become part of the weights.

        Raises:
            ValueError: A host feeds other shards of one mesh than of the other.
        """
        feeds, of_rollouts = (BatchSharding.of(one).feed_of_host for one in (mesh, rollout_mesh))
        if feeds != of_rollouts:
            assert mesh is not None
            assert rollout_mesh is not None
            raise ValueError(
                "rollout.mesh: expected every host to feed shards of its own, as in mesh; got "
                f"{dict(rollout_mesh.shape)} and {dict(mesh.shape)}: a tensor axis that divides "
                "the devices of a host has no such difference"
            )
        self.mesh = rollout_mesh
        given = nnx.split(model)[0]
        prepared: Callable[[Policy], Policy] = merged if merge else _unchanged
        self._definition, state = nnx.split(nnx.eval_shape(prepared, model))
        dtype, shapes = model.compute_dtype, leaves_of(state)

        def copied(parameters: Any) -> Any:
            whole = nnx.split(prepared(nnx.merge(given, parameters)))[1]
            return with_leaves(
                whole,
                lambda path, leaf: leaf[...] if is_adapter(path) else leaf[...].astype(dtype),
            )

        def place(path: str, leaf: Any) -> NamedSharding:
            assert rollout_mesh is not None
            if not is_adapter(path):
                return model.config.sharding(path, leaf.shape, rollout_mesh)
            owner, _, name = path.rpartition(".")
            shape = shapes[f"{owner}.weight"].shape
            split = model.config.sharding(f"{owner}.weight", shape, rollout_mesh)
            weight = jax.ShapeDtypeStruct(shape, dtype, sharding=split)
            return shardings_beside(weight)[0 if name == DOWN else 1]

        places = None if rollout_mesh is None else with_leaves(state, place)
        self.program: Callable[[Any], Any] = jax.jit(copied, out_shardings=places)

    def __call__(self, model: Policy) -> Policy:
        """The copy; the model keeps its own arrays."""
        return nnx.merge(self._definition, self.program(nnx.split(model)[1]))


def _unchanged(model: Policy) -> Policy:
    return model
