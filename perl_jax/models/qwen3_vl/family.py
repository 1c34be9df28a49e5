"""The family, and the stored tensors of each parameter.

A parameter's path in the module tree is its published name, except for the prefixes; a stacked
parameter has one stored tensor per layer. transformers 5 saves under the published names.
"""

from perl_jax.models.family import Family, Stored
from perl_jax.models.paths import STACKED, within
from perl_jax.models.qwen3_vl.config import Qwen3VLConfig, parse_config
from perl_jax.models.qwen3_vl.fresh import v5_name
from perl_jax.models.qwen3_vl.model import Qwen3VL

# Path prefix in the module tree -> published prefix; the first match counts.
_PREFIXES = {
    "vision.patch_embed.": "model.visual.patch_embed.proj.",
    "vision.": "model.visual.",
    "text.": "model.language_model.",
    "lm_head.": "lm_head.",
}


def stored_tensors(path: str, shape: tuple[int, ...], config: Qwen3VLConfig) -> Stored:
    """Finds the stored tensors of the parameter at a dotted path with this shape."""
    prefix = next(prefix for prefix in _PREFIXES if path.startswith(prefix))
    name = _PREFIXES[prefix] + path.removeprefix(prefix)
    if path == "vision.patch_embed.weight":
        vision = config.vision
        kernel = (vision.temporal_patch_size, vision.patch_size, vision.patch_size)
        return Stored((name,), (shape[0], vision.in_channels, *kernel), stacked=False)
    if not within(path, *STACKED):
        return Stored((name,), shape, stacked=False)
    model, part, layers, rest = name.split(".", 3)
    names = tuple(f"{model}.{part}.{layers}.{n}.{rest}" for n in range(shape[0]))
    return Stored(names, shape[1:], stacked=True)


def _published(name: str) -> str:
    return name


def _tied(_: Qwen3VLConfig) -> None:
    # A tied head that is stored all the same is surplus: transformers would read it otherwise.
    return None


QWEN3_VL = Family(
    parse=parse_config,
    build=Qwen3VL,
    stored=stored_tensors,
    published_name=_published,
    module_name=v5_name,
    tied=_tied,
)
