"""The policy that a configuration names, with its processor."""

from dataclasses import dataclass

from jax.sharding import Mesh

from perl_jax.models import Qwen2_5_VL, load_model
from perl_jax.processing import Processor, load_processor


@dataclass(frozen=True)
class ModelConfig:
    """The policy.

    Attributes:
        path: A model directory or a hub id.
        dtype: Of the parameters.
        compute_dtype: Of the activations.
        min_pixels: Smaller images are enlarged to this area; None: the directory's value.
        max_pixels: Larger images are reduced to this area; None: the directory's value.
    """

    path: str = ""
    dtype: str = "float32"
    compute_dtype: str = "bfloat16"
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name in ("dtype", "compute_dtype"):
            if getattr(self, name) not in ("float32", "bfloat16"):
                raise ValueError(
                    f"{name}: expected float32 or bfloat16; got {getattr(self, name)!r}"
                )


def open_model(config: ModelConfig, mesh: Mesh | None = None) -> tuple[Qwen2_5_VL, Processor]:
    """Loads the policy and its processor.

    Args:
        config: The policy.
        mesh: The devices that hold its parameters; None: the first device alone.
    """
    processor = load_processor(
        config.path, min_pixels=config.min_pixels, max_pixels=config.max_pixels
    )
    model = load_model(
        config.path, dtype=config.dtype, compute_dtype=config.compute_dtype, mesh=mesh
    )
    return model, processor
