"""Saving a policy as a Hugging Face directory, written by the first of several hosts.

If it fails (a full disk), the others must not wait for a collective that never comes: it stops
writing, goes on gathering and tells them at the end.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from perl_jax.files import whole_directory
from perl_jax.hosts import HostsError
from perl_jax.models.families import FAMILIES
from perl_jax.models.load import FLOATS
from perl_jax.models.lora import merged
from perl_jax.models.paths import leaves_of
from perl_jax.models.policy import Policy
from perl_jax.models.safetensors_files import INDEX, SINGLE
from perl_jax.models.source import Source

# Tokenizer, processor and generation files.
_CARRIED = {".json", ".txt", ".jinja", ".model"}
_Part = Mapping[str, np.ndarray]


def save_model(model: Policy, path: str | Path, *, max_shard_bytes: int = 5 * 10**9) -> None:
    """Writes a policy as a complete Hugging Face directory that transformers and vLLM load.

    Names, dtypes and config.json are those of the directory that the model was loaded from, whose
    tokenizer and processor files are copied. Adapters are merged. The directory appears only when
    it is complete.

    If the model spans several hosts, all must call this: every device gathers one tensor (or layer)
    at a time, in the dtype of its file. All return when the directory is there.

    Args:
        model: A policy from `load_model`.
        path: A directory that does not exist or is empty.
        max_shard_bytes: The size at which weights are split into files with an index.

    Raises:
        FileExistsError: ``path`` is not empty.
        FileNotFoundError: The directory that the model was loaded from is gone.
        RuntimeError: On the other hosts, if the first one raises any of these or `OSError`.
        ValueError: The model was not loaded from a directory.
    """
    source = model.source
    if source is None:
        raise ValueError("model: expected one from load_model; only such a one has a tokenizer")
    tensors = _tensors(merged(model), source)
    shards = _plan(tensors, max_shard_bytes)
    count = len(shards)
    names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, 1 + count)]
    files = dict(zip(names if count > 1 else [SINGLE], shards, strict=True))
    parts = ({source.names[name]: tensors[name].read() for name in names} for names in shards)
    total = sum(tensor.num_bytes for tensor in tensors.values())
    weight_map = {source.names[name]: file for file, names in files.items() for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write = partial(_write, source=source, path=Path(path), files=list(files), index=index)
    if all(tensor.parameter.is_fully_addressable for tensor in tensors.values()):
        write(parts)
    else:
        write_on_one_host(write, parts)


def write_on_one_host(write: Any, parts: Iterable[_Part]) -> None:
    """Calls ``write(parts)`` on the first host while the others take part in gathering."""
    failure = None
    if jax.process_index() == 0:
        try:
            write(parts)
        except Exception as error:
            failure = error
    for _ in parts:
        pass
    failed = multihost_utils.broadcast_one_to_all(np.array(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise HostsError("save_model: the first host could not write the model; see its error")


def _write(
    parts: Iterable[_Part], *, source: Source, path: Path, files: list[str], index: dict[str, Any]
) -> None:
    """Writes the directory; each part holds the tensors of one file by name."""
    if not source.directory.is_dir():
        raise FileNotFoundError(
            f"{source.directory}: the directory that the model was loaded from is gone; its "
            "tokenizer and processor files belong into what is written"
        )
    with whole_directory(path) as unfinished:
        for file in source.directory.iterdir():
            if file.suffix in _CARRIED and file.name not in {"config.json", INDEX}:
                shutil.copyfile(file, unfinished / file.name)
        config = json.dumps(source.config, indent=2, ensure_ascii=False)
        (unfinished / "config.json").write_text(config + "\n", encoding="utf-8")
        for name, part in zip(files, parts, strict=True):
            save_file(dict(part), unfinished / name, metadata={"format": "pt"})
        if len(files) > 1:
            (unfinished / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Tensor:
    """One tensor to write: a parameter, or a layer of one, and its stored shape and dtype."""

    parameter: jax.Array
    layer: int | None
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Its size in the file."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Its values, on the first host; if it spans several hosts, all must call this."""
        if self.parameter.is_fully_addressable:
            part = self.parameter if self.layer is None else self.parameter[self.layer]
        else:
            part = _everywhere(self.parameter, self.layer, self.dtype)
            if jax.process_index() != 0:
                return np.empty(0, self.dtype)
        return np.ascontiguousarray(np.asarray(part).astype(self.dtype).reshape(self.shape))


def _everywhere(parameter: jax.Array, layer: int | None, dtype: np.dtype) -> jax.Array:
    """Gathers a parameter, or a layer of it, from all hosts in the dtype of its file."""
    sharding = parameter.sharding
    if not isinstance(sharding, NamedSharding):
        raise TypeError(f"parameter: expected a NamedSharding across hosts; got {sharding}")
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    gathered = _gather(whole, dtype)(parameter, None if layer is None else np.int32(layer))
    # One at a time: a host that only takes part must not run ahead and fill its devices.
    return jax.block_until_ready(gathered).addressable_data(0)


@cache
def _gather(whole: NamedSharding, dtype: np.dtype) -> Any:
    # The cast comes before the transfer.
    def part(parameter: jax.Array, layer: jax.Array | None) -> jax.Array:
        return (parameter if layer is None else parameter[layer]).astype(dtype)

    return jax.jit(part, out_shardings=whole)


def _tensors(model: Policy, source: Source) -> dict[str, Tensor]:
    """The tensors to write, sorted by published name."""
    family = FAMILIES[model.config.model_type]
    tensors = {}
    for path, leaf in leaves_of(nnx.state(model)).items():
        parameter = leaf[...]
        stored = family.stored(path, parameter.shape, model.config)
        for n, name in enumerate(stored.names):
            dtype = np.dtype(FLOATS[source.dtypes[name]])
            tensors[name] = Tensor(parameter, n if stored.stacked else None, stored.shape, dtype)
    return dict(sorted(tensors.items()))


def _plan(tensors: dict[str, Tensor], max_shard_bytes: int) -> list[list[str]]:
    """Fills shards in order; a tensor larger than the limit gets its own shard."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.num_bytes > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += tensor.num_bytes
    return shards
