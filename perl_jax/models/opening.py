"""Opening a configuration's policy and its processor."""

from dataclasses import dataclass

from jax.sharding import Mesh

from perl_jax.models import Policy, load_model
from perl_jax.processing import Processor, load_processor
from perl_jax.settings import Checked, Count, Dtype


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The policy.

    Attributes:
        path: A model directory or a hub id.
        dtype: The dtype of the parameters.
        compute_dtype: The dtype of the activations.
        min_pixels: Smaller images are enlarged to this area; None: the directory's value.
        max_pixels: Larger images are reduced to this area; None: the directory's value.
    """

    path: str = ""
    dtype: Dtype = "float32"
    compute_dtype: Dtype = "bfloat16"
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


def load_policy(config: ModelConfig, mesh: Mesh | None = None) -> Policy:
    """Loads the policy alone."""
    return load_model(
        config.path, dtype=config.dtype, compute_dtype=config.compute_dtype, mesh=mesh
    )
