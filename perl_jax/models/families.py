"""The model families, by the ``model_type`` of their config.json."""

import json
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from perl_jax.hub import resolve_directory
from perl_jax.legible import brief
from perl_jax.models.family import Family
from perl_jax.models.paths import with_leaves
from perl_jax.models.policy import Policy, PolicyConfig
from perl_jax.models.qwen2_5_vl.family import QWEN2_5_VL
from perl_jax.models.qwen3_vl.family import QWEN3_VL
from perl_jax.models.source import Source
from perl_jax.processing.files import read_json

FAMILIES: Mapping[str, Family[Any]] = {"qwen2_5_vl": QWEN2_5_VL, "qwen3_vl": QWEN3_VL}


def parse_config(content: Mapping[str, Any], *, where: str = "config.json") -> PolicyConfig:
    """Reads the sizes of a policy from the content of its config.json.

    Raises:
        ValueError: A field is missing, inconsistent or not implemented; the message names it.
    """
    _check_unquantized(content, where)
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        choices = " or ".join(map(repr, FAMILIES))
        raise ValueError(f"{where}: model_type: expected {choices}, got {brief(model_type)}")
    if "auto_map" in content:
        raise ValueError(f"{where}: auto_map: models that bring their own code are not loaded")
    return FAMILIES[model_type].parse(content, where)


def _check_unquantized(content: Mapping[str, Any], where: str) -> None:
    quantization = content.get("quantization_config")
    if not quantization:
        return
    fields = quantization if isinstance(quantization, Mapping) else {}
    method = fields.get("quant_method", "of an unknown method")
    raise ValueError(
        f"{where}: quantization_config: expected weights that are not quantized; got {method}: "
        "use the checkpoint that was quantized, as its name without the suffix AWQ, GPTQ, bnb or "
        "FP8 often tells"
    )


def read_config(path: str | Path) -> PolicyConfig:
    """Reads the sizes of a policy from a model directory or for a hub id.

    The sizes of Qwen's published models are known without a download.

    Raises:
        FileNotFoundError: The model or its config.json is missing.
        ValueError: The file is not JSON, or `parse_config` refuses it.
    """
    organisation, _, name = str(path).partition("@")[0].rpartition("/")
    published = files("perl_jax") / "assets" / "published" / f"{name}.json"
    if not Path(path).is_dir() and organisation == "Qwen" and published.is_file():
        return parse_config(json.loads(published.read_text(encoding="utf-8")), where=str(path))
    file = resolve_directory(path) / "config.json"
    return parse_config(read_json(file), where=str(file))


def abstract_model(
    config: PolicyConfig,
    *,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None = None,
    source: Source | None = None,
    mesh: Mesh | None = None,
) -> Policy:
    """A policy with shapes in place of parameters, so that it takes no memory.

    ``dtype`` is that of the parameters, ``compute_dtype`` that of activations (None: the same).
    With a mesh, each shape carries the sharding that `load_model` gives the parameter.
    """
    dtypes = {"dtype": jnp.dtype(dtype), "compute_dtype": jnp.dtype(compute_dtype or dtype)}
    build = partial(FAMILIES[config.model_type].build, config, source=source, **dtypes)
    model = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
    if mesh is None:
        return model

    def place(path: str, leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = config.sharding(path, leaf.shape, mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    definition, state = nnx.split(model)
    return nnx.merge(definition, with_leaves(state, place))
