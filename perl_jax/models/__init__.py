"""Policies, and their way from and to Hugging Face directories."""

from pathlib import Path

import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from perl_jax.hub import resolve_directory
from perl_jax.models.qwen2_5_vl import load, save
from perl_jax.models.qwen2_5_vl.model import Qwen2_5_VL

__all__ = ["Qwen2_5_VL", "load_model", "save_model"]


def load_model(
    path: str | Path,
    *,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
) -> Qwen2_5_VL:
    """Loads a policy from its Hugging Face directory.

    Only safetensors and JSON are read, tensor by tensor: on the host, at most the checkpoint's size
    plus its largest tensor is in use; on a mesh, each device is given its own shard only, and each
    host reads only what its devices are given.

    Args:
        path: A local directory with the published files, or a hub id (``organisation/name`` or
            ``organisation/name@revision``).
        dtype: Of the parameters, whatever the dtype of the files.
        compute_dtype: Of the activations; ``dtype`` if not given.
        mesh: Devices to shard the parameters over, from `perl_jax.mesh.make_mesh`; None puts
            everything on the first device.

    Raises:
        FileNotFoundError: the directory, config.json or a weight file is missing.
        ValueError: config.json asks for another architecture, a file is damaged, or tensors are
            missing, surplus or of another shape; all of these tensors are listed.
    """
    directory = resolve_directory(path)
    return load.load(
        directory,
        dtype=jnp.dtype(dtype),
        compute_dtype=None if compute_dtype is None else jnp.dtype(compute_dtype),
        mesh=mesh,
    )


def save_model(model: Qwen2_5_VL, path: str | Path, *, max_shard_bytes: int = 5 * 10**9) -> None:
    """Writes a policy as a complete Hugging Face directory that transformers and vLLM load.

    Names, dtypes and config.json are those of the directory that the model was loaded from, whose
    tokenizer and processor files are copied. The directory appears when it is complete.

    Where the model spans several hosts, all of them must call it: they gather one tensor after the
    other (a layer of a stacked one) on every device, in the dtype of its file, and the first host
    writes it. All return when the directory is there.

    Args:
        model: From `load_model`.
        path: A directory that does not exist or is empty.
        max_shard_bytes: Weights are split into files of at most this size, with an index.

    Raises:
        FileExistsError: ``path`` holds something.
        FileNotFoundError: the directory that the model was loaded from is gone.
        RuntimeError: on the other hosts, if the first one raises any of these or `OSError`.
        ValueError: the model was not loaded from a directory.
    """
    save.save(model, Path(path), max_shard_bytes=max_shard_bytes)
