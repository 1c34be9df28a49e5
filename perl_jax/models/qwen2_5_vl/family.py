"""The family, and the stored tensors of each parameter.

A parameter's path in the module tree is its name on the hub, except for a few prefixes; a stacked
parameter has one stored tensor per layer.
"""

from perl_jax.models.family import Family, Stored
from perl_jax.models.paths import STACKED, within
from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig, parse_config
from perl_jax.models.qwen2_5_vl.fresh import v5_name
from perl_jax.models.qwen2_5_vl.model import Qwen2_5_VL

# Path prefix in the module tree -> prefix on the hub; the first match counts.
_HUB_PREFIXES = {
    "vision.patch_embed.": "visual.patch_embed.proj.",
    "vision.merger.hidden.": "visual.merger.mlp.0.",
    "vision.merger.out.": "visual.merger.mlp.2.",
    "vision.": "visual.",
    "text.": "model.",
    "lm_head.": "lm_head.",
}


def stored_tensors(path: str, shape: tuple[int, ...], config: Qwen2_5_VLConfig) -> Stored:
    """Finds the stored tensors of the parameter at a dotted path with this shape."""
    prefix = next(prefix for prefix in _HUB_PREFIXES if path.startswith(prefix))
    name = _HUB_PREFIXES[prefix] + path.removeprefix(prefix)
    if path == "vision.patch_embed.weight":
        vision = config.vision
        kernel = (vision.temporal_patch_size, vision.patch_size, vision.patch_size)
        return Stored((name,), (shape[0], vision.in_channels, *kernel), stacked=False)
    if not within(path, *STACKED):
        return Stored((name,), shape, stacked=False)
    group, layers, rest = name.split(".", 2)
    names = tuple(f"{group}.{layers}.{n}.{rest}" for n in range(shape[0]))
    return Stored(names, shape[1:], stacked=True)


def hub_name(name: str) -> str:
    """Translates a tensor's name, the hub's or that of transformers 5, to the hub's."""
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    if name.startswith("model.language_model."):
        return "model." + name.removeprefix("model.language_model.")
    return name


def _tied(config: Qwen2_5_VLConfig) -> tuple[str, str] | None:
    return ("lm_head.weight", "model.embed_tokens.weight") if config.tied else None


QWEN2_5_VL = Family(
    parse=parse_config,
    build=Qwen2_5_VL,
    stored=stored_tensors,
    published_name=hub_name,
    module_name=v5_name,
    tied=_tied,
)
