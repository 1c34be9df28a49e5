"""How prompts and the responses to them stand in one array: a layer reads all tokens at once."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from perl_jax.mesh import num_shards
from perl_jax.models.policy import Array


@dataclass(frozen=True)
class Beside:
    """The tokens of P prompts and of O rows of N responses, in blocks.

    A block holds equally many prompts, and the rows that respond to them after all of these. Where
    every prompt has one row it is a block with it; otherwise a block is what one shard holds.

    Attributes:
        prompts: P and T.
        responses: O, N and R.
        blocks: The number of blocks.
    """

    prompts: tuple[int, int]
    responses: tuple[int, int, int]
    blocks: int

    @classmethod
    def of(
        cls, prompt_valid: Array, valid: Array, prompt_of: Array | None, mesh: Mesh | None
    ) -> "Beside":
        """The blocks of prompts ``[P, T]`` and responses ``[O, N, R]`` on a mesh."""
        (p, t), (o, n, r) = prompt_valid.shape, valid.shape
        if prompt_of is None and p != o:
            raise ValueError(f"responses: expected them to {p} prompts; got them to {o}")
        return cls((p, t), (o, n, r), p if prompt_of is None else num_shards(mesh))

    def join(self, of_prompts: Array, of_responses: Array) -> jax.Array:
        """``[P, T, ...]`` and ``[O, N, R, ...]`` as one array ``[blocks, tokens, ...]``."""
        parts = (
            of_prompts.reshape(self.blocks, -1, *of_prompts.shape[2:]),
            of_responses.reshape(self.blocks, -1, *of_responses.shape[3:]),
        )
        return jnp.concatenate(parts, axis=1)

    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What `join` joined."""
        end = self.prompts[0] // self.blocks * self.prompts[1]
        of_prompts, of_responses = x[:, :end], x[:, end:]
        return (
            of_prompts.reshape(*self.prompts, *x.shape[2:]),
            of_responses.reshape(*self.responses, *x.shape[2:]),
        )
