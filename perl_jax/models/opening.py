"""Opening a configuration's policy and its processor."""

import logging
from dataclasses import dataclass

import jax.numpy as jnp
from jax.sharding import Mesh

from perl_jax.models import Policy, load_model
from perl_jax.models.attending import Attention, choose_kernel
from perl_jax.models.lora import LoraConfig, with_adapters
from perl_jax.processing import Processor, load_processor
from perl_jax.settings import Checked, Count, Dtype

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The policy.

    Attributes:
        path: A model directory or a hub id.
        dtype: The dtype of the parameters; under adapters (``learner.lora``) they have
            ``compute_dtype`` instead, to which they are cast whenever they are used.
        compute_dtype: The dtype of the activations.
        attention: What computes attention over long rows; ``auto`` is a kernel on TPUs and GPUs,
            which keeps its scores on the chip and is checked there before the first step, and XLA
            elsewhere.
        min_pixels: Smaller images are enlarged to this area; None: the directory's value.
        max_pixels: Larger images are reduced to this area; None: the directory's value.
    """

    path: str = ""
    dtype: Dtype = "float32"
    compute_dtype: Dtype = "bfloat16"
    attention: Attention = "auto"
    min_pixels: Count | None = None
    max_pixels: Count | None = None


def open_model(config: ModelConfig, mesh: Mesh | None = None) -> tuple[Policy, Processor]:
    """Loads the policy, onto the mesh or else the first device, and its processor."""
    # The processor first: its faults show before the weights are read.
    processor = open_processor(config)
    return load_policy(config, mesh), processor


def open_processor(config: ModelConfig) -> Processor:
    """Loads the processor of the policy's directory."""
    path = config.path
    processor = load_processor(path, min_pixels=config.min_pixels, max_pixels=config.max_pixels)
    # Otherwise every row would fail by itself.
    processor.check_template()
    return processor


def held_dtype(config: ModelConfig, lora: LoraConfig | None) -> Dtype:
    """The dtype in which a run holds the parameters that are in the model's files.

    Without gradients, more precision than they are used in is of no use.
    """
    return config.dtype if lora is None else config.compute_dtype


def load_policy(
    config: ModelConfig, mesh: Mesh | None = None, lora: LoraConfig | None = None, seed: int = 0
) -> Policy:
    """Loads the policy alone; with ``lora`` it has adapters, made with ``seed``."""
    dtype = held_dtype(config, lora)
    model = load_model(config.path, dtype=dtype, compute_dtype=config.compute_dtype, mesh=mesh)
    choose_kernel(model, config.attention)
    if lora is None:
        return model
    stored = model.source.dtypes.values() if model.source else ()
    if jnp.dtype(dtype) == jnp.bfloat16 and set(stored) != {"BF16"}:
        logger.warning(
            "the weights under the adapters are held in bfloat16, and some of %s are %s: what the "
            "end of the run exports is rounded; perl-jax export --merged rounds nothing more",
            config.path, ", ".join(sorted(set(stored))),
        )  # fmt: skip
    return with_adapters(model, lora, seed)
