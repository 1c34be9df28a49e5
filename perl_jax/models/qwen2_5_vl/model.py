"""Qwen2.5-VL (arXiv 2502.13923)."""

import jax.numpy as jnp
from flax import nnx

from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig
from perl_jax.models.qwen2_5_vl.text import TextModel
from perl_jax.models.qwen2_5_vl.vision import VisionTower
from perl_jax.models.source import Source
from perl_jax.models.vision_language import VisionLanguageModel


class Qwen2_5_VL(VisionLanguageModel):
    """A `perl_jax.models.policy.Policy`."""

    config: Qwen2_5_VLConfig

    def __init__(
        self,
        config: Qwen2_5_VLConfig,
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
