"""Qwen3-VL (arXiv 2511.21631)."""

import jax.numpy as jnp
from flax import nnx

from perl_jax.models.qwen3_vl.config import Qwen3VLConfig
from perl_jax.models.qwen3_vl.text import TextModel
from perl_jax.models.qwen3_vl.vision import VisionTower
from perl_jax.models.source import Source
from perl_jax.models.vision_language import VisionLanguageModel


class Qwen3VL(VisionLanguageModel):
    """A `perl_jax.models.policy.Policy`."""

    config: Qwen3VLConfig

    def __init__(
        self,
        config: Qwen3VLConfig,
        *,
        dtype: jnp.dtype,
        compute_dtype: jnp.dtype | None = None,
        source: Source | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            config,
            vision=VisionTower,
            text=TextModel,
            dtype=dtype,
            compute_dtype=compute_dtype,
            source=source,
            rngs=rngs,
        )
