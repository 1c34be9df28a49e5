"""The least memory that a run needs on a chip, known without compiling anything."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, AxisType

from perl_jax.config import RunConfig
from perl_jax.mesh import AXES, MeshConfig
from perl_jax.models import Policy, PolicyConfig, abstract_model
from perl_jax.models.lora import with_adapters
from perl_jax.models.opening import held_dtype
from perl_jax.planning.shapes import bytes_on_chip
from perl_jax.update.state import SplitPolicy


def least_bytes(config: RunConfig, sizes: PolicyConfig) -> int:
    """Bytes of a chip for the parameters and the optimizer's moments, and for what joins them.

    Gradients join them in an update, and the copy of the policy that rollouts may have: the larger
    one counts. Batches, caches, and what programs need while they run come on top, and
    so do the moments of optimizers other than AdamW.

    Args:
        config: The run.
        sizes: The sizes of its policy.
    """
    mesh, wanted = config.mesh or MeshConfig(), config.rollout.mesh
    learner, lora = config.learner, config.learner.lora
    model = _model(sizes, mesh, held_dtype(config.model, lora))
    if lora is not None:
        model = with_adapters(model, lora, seed=0)
    trained = SplitPolicy(model, learner.trainable, learner.frozen).split(model)
    gradients = bytes_on_chip(trained)
    held = bytes_on_chip(nnx.state(model))
    if config.optimizer.name == "adamw":
        moments = 4 + jnp.dtype(config.optimizer.state_dtype).itemsize
        dtype = next(iter(trained.values())).dtype
        held += gradients // dtype.itemsize * moments
    copy, apart = 0, wanted is not None and wanted != mesh
    if apart or config.rollout.merge_adapters:
        on = wanted if apart and wanted else mesh
        copy = bytes_on_chip(nnx.state(_model(sizes, on, config.model.compute_dtype)))
    return held + max(gradients, copy)


def _model(sizes: PolicyConfig, mesh: MeshConfig, dtype: Any) -> Policy:
    on: Any = AbstractMesh(mesh.shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return abstract_model(sizes, dtype=dtype, mesh=on)
