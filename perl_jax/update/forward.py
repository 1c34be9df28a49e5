"""The shared-prefix forward pass: log-probabilities of all responses of a micro-batch.

Every distinct image is encoded once, every prompt read once, and the responses to it beside it.
Logits and gradients equal those of the O * N separate sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from perl_jax.mesh import SHARD_AXES, fit_sharding
from perl_jax.models import Policy
from perl_jax.models.policy import Array, Remat
from perl_jax.objectives import token_logprobs
from perl_jax.update.packing import MicroBatch


@dataclass(frozen=True)
class Head:
    """How log-probabilities are computed.

    Attributes:
        temperature: The sampler's temperature.
        remat: What the backward pass recomputes.
        chunk: Rows of the vocabulary at a time, see `token_logprobs`.
        mesh: The devices; None: a single one.
    """

    temperature: float = 1.0
    remat: Remat = "none"
    chunk: int = 2048
    mesh: Mesh | None = None


def response_logprobs(
    model: Policy,
    batch: MicroBatch,
    banned: Array,
    head: Head,
    running: Sequence[jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of the response tokens and entropies, float32 ``[O, N, R]``, 0 at padding.

    ``banned`` is bool ``[V]``. Gradients of the text layers are added to ``running``, see
    `perl_jax.models.layers.scan_layers_adding`.
    """
    rows, valid = batch.rows, jnp.asarray(batch.valid)
    hidden = model.read_with_responses(
        batch.prompts,
        batch.tokens,
        batch.start,
        rows,
        head.remat,
        head.mesh,
        running,
        batch.prompt_of,
    )
    hidden, unembedding = _split_for_slices(
        rows.predicting(hidden, head.mesh), model.unembedding, head.mesh
    )
    scores = token_logprobs(
        hidden,
        unembedding,
        rows.predicted(batch.tokens),
        temperature=head.temperature,
        banned=banned,
        chunk=head.chunk,
    )
    logprobs, entropy = (rows.of_responses(score, valid.shape) for score in scores)
    return jnp.where(valid, logprobs, 0.0), jnp.where(valid, entropy, 0.0)


def _split_for_slices(
    hidden: jax.Array, unembedding: jax.Array, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array]:
    """Splits hidden states ``[S, V, D]`` and the unembedding for slices of the vocabulary.

    Slicing a split axis makes every device fetch all of it, so D is split instead, and V over the
    tensor axis. The cast to the product's dtype halves the gradient, which stays in memory for the
    whole backward pass; each of its rows is a single product, so nothing is lost.
    """
    unembedding = unembedding.astype(hidden.dtype)
    if mesh is None:
        return hidden, unembedding
    of_hidden = PartitionSpec(SHARD_AXES, "tensor", None)
    of_rows = PartitionSpec(None, ("fsdp", "tensor"))
    constrain = jax.lax.with_sharding_constraint
    return (
        constrain(hidden, fit_sharding(hidden.shape, of_hidden, mesh)),
        constrain(unembedding, fit_sharding(unembedding.shape, of_rows, mesh)),
    )
