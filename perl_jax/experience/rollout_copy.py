"""The policy as it lies for rollouts, where that is another mesh than the update's.

Decoding reads every weight at every step: parameters that are split for the update would have to
be gathered each time. So they are copied once a step, in the dtype that the products are computed
in, to where the sampler wants them.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from perl_jax.mesh import Feeds
from perl_jax.models import Qwen2_5_VL
from perl_jax.models.qwen2_5_vl.sharding import parameter_sharding
from perl_jax.update.state import dotted


class RolloutCopy:
    """Copies a policy to the mesh of the rollouts.

    The copy computes what the policy does: parameters are cast to the compute dtype at every use
    anyway.

    Attributes:
        mesh: Of the rollouts.
        program: ``parameters -> parameters``, compiled.
    """

    def __init__(self, model: Qwen2_5_VL, mesh: Mesh, rollout_mesh: Mesh) -> None:
        """Prepares the copy.

        Args:
            model: The policy on the mesh of the update, of arrays or their shapes.
            mesh: That mesh.
            rollout_mesh: Another one over the same devices in the same order.

        Raises:
            ValueError: A host feeds other shards of one mesh than of the other.
        """
        if Feeds.of(mesh).of_host != Feeds.of(rollout_mesh).of_host:
            raise ValueError(
                "rollout.mesh: expected every host to feed shards of its own, as in mesh; got "
                f"{dict(rollout_mesh.shape)} and {dict(mesh.shape)}: a tensor axis that divides "
                "the devices of a host has no such difference"
            )
        self.mesh = rollout_mesh
        self._definition, state = nnx.split(model)
        dtype = model.compute_dtype

        def place(path: Any, leaf: Any) -> Any:
            return leaf.replace(
                parameter_sharding(dotted(path), leaf.shape, model.config, rollout_mesh)
            )

        flat = [(path, place(path, leaf)) for path, leaf in nnx.to_flat_state(state)]
        self.program: Callable[[Any], Any] = jax.jit(
            lambda parameters: jax.tree.map(lambda leaf: leaf.astype(dtype), parameters),
            out_shardings=nnx.from_flat_state(flat),
        )

    def __call__(self, model: Qwen2_5_VL) -> Qwen2_5_VL:
        """The policy for the sampler; the model keeps its own arrays."""
        copied: Qwen2_5_VL = nnx.merge(self._definition, self.program(nnx.split(model)[1]))
        return copied
