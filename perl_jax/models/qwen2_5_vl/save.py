"""From the policy back to a Hugging Face directory."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from perl_jax.models.qwen2_5_vl.load import FLOATS
from perl_jax.models.qwen2_5_vl.model import Qwen2_5_VL
from perl_jax.models.qwen2_5_vl.names import stored_tensors
from perl_jax.models.qwen2_5_vl.safetensors_files import INDEX, SINGLE
from perl_jax.models.qwen2_5_vl.source import Source

# Tokenizer, processor and generation files; the weights and config.json are written anew.
_CARRIED = {".json", ".txt", ".jinja", ".model"}


def save(model: Qwen2_5_VL, path: Path, *, max_shard_bytes: int) -> None:
    """Writes a model directory; see `perl_jax.models.save_model`."""
    source = model.source
    if source is None:
        raise ValueError("model: expected one from load_model; only such a one has a tokenizer")
    if not source.directory.is_dir():
        raise FileNotFoundError(
            f"{source.directory}: the directory that the model was loaded from is gone; its "
            "tokenizer and processor files belong into what is written"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path}: expected a new or empty directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader never sees half a checkpoint: the directory appears when it is complete.
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    partial.mkdir()
    try:
        _copy_files(source.directory, partial)
        config = json.dumps(source.config, indent=2, ensure_ascii=False)
        (partial / "config.json").write_text(config + "\n", encoding="utf-8")
        _write_weights(model, source, partial, max_shard_bytes)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _copy_files(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.suffix in _CARRIED and file.name not in {"config.json", INDEX}:
            shutil.copyfile(file, target / file.name)


@dataclass(frozen=True)
class _Tensor:
    """One tensor to write: which part of which parameter it is, and as what."""

    parameter: jax.Array
    layer: int | None
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        part = self.parameter if self.layer is None else self.parameter[self.layer]
        return np.ascontiguousarray(np.asarray(part).astype(self.dtype).reshape(self.shape))


def _write_weights(model: Qwen2_5_VL, source: Source, target: Path, max_shard_bytes: int) -> None:
    tensors = _tensors(model, source)
    shards = _plan(tensors, max_shard_bytes)
    files = [SINGLE]
    if len(shards) > 1:
        files = [
            f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, 1 + len(shards))
        ]
    weight_map = {}
    for file, names in zip(files, shards, strict=True):
        held = {source.names[name]: tensors[name].read() for name in names}
        save_file(held, target / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(held, file))
    if len(files) > 1:
        total = sum(tensor.num_bytes for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (target / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _tensors(model: Qwen2_5_VL, source: Source) -> dict[str, _Tensor]:
    """The tensors to write, by hub name, in the order of the names."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        parameter = leaf[...]
        stored = stored_tensors(".".join(map(str, path)), parameter.shape, model.config)
        for n, name in enumerate(stored.names):
            dtype = np.dtype(FLOATS[source.dtypes[name]])
            tensors[name] = _Tensor(parameter, n if stored.stacked else None, stored.shape, dtype)
    return dict(sorted(tensors.items()))


def _plan(tensors: dict[str, _Tensor], max_shard_bytes: int) -> list[list[str]]:
    """Fills shards in order; a tensor larger than the limit has a shard of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.num_bytes > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += tensor.num_bytes
    return shards
