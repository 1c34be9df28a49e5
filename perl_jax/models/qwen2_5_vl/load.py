"""From a Hugging Face directory to the policy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig, read_config
from perl_jax.models.qwen2_5_vl.model import Qwen2_5_VL
from perl_jax.models.qwen2_5_vl.names import Stored, hub_name, stored_tensors
from perl_jax.models.qwen2_5_vl.safetensors_files import TensorInfo, read_headers, read_slice
from perl_jax.models.qwen2_5_vl.sharding import parameter_sharding
from perl_jax.models.qwen2_5_vl.source import Source

FLOATS = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}
# A tensor is read in pieces of at most this many bytes, so that it is never held twice.
_PIECE = 64 << 20
# jax takes a host buffer as it is, without a copy, only where it is aligned so.
_ALIGNMENT = 64


def load(
    directory: Path, *, dtype: jnp.dtype, compute_dtype: jnp.dtype | None, mesh: Mesh | None
) -> Qwen2_5_VL:
    """Reads a model directory; see `perl_jax.models.load_model`."""
    config, content = read_config(directory)
    in_files = read_headers(directory)
    files = _without_tied_copy({hub_name(n): t for n, t in in_files.items()}, config, directory)
    model = abstract_model(config, dtype=dtype, compute_dtype=compute_dtype)
    model.source = Source(
        directory=directory,
        config=content,
        names={hub: tensor.name for hub, tensor in files.items()},
        dtypes={hub: tensor.dtype for hub, tensor in files.items()},
    )
    definition, state = nnx.split(model)
    leaves = {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    stored = {path: stored_tensors(path, leaf.shape, config) for path, leaf in leaves.items()}
    _check(directory, files, stored)

    arrays = {}
    # The largest first: what is read last is held beside everything else.
    for path in sorted(leaves, key=lambda path: -leaves[path].size):
        shape = leaves[path].shape
        sharding = _sharding(path, shape, config, mesh)
        arrays[path] = _read_parameter(stored[path], files, shape, dtype, sharding)
    loaded = [
        (path, leaf.replace(arrays[".".join(map(str, path))]))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(definition, nnx.from_flat_state(loaded))


def abstract_model(
    config: Qwen2_5_VLConfig, *, dtype: jnp.dtype, compute_dtype: jnp.dtype | None = None
) -> Qwen2_5_VL:
    """The model with shapes in the place of parameters: it takes no memory at any size."""
    return nnx.eval_shape(
        lambda: Qwen2_5_VL(config, dtype=dtype, compute_dtype=compute_dtype, rngs=nnx.Rngs(0))
    )


def _sharding(
    path: str, shape: tuple[int, ...], config: Qwen2_5_VLConfig, mesh: Mesh | None
) -> Sharding:
    if mesh is None:
        return SingleDeviceSharding(jax.local_devices()[0])
    return parameter_sharding(path, shape, config, mesh)


def _read_parameter(
    stored: Stored,
    files: dict[str, TensorInfo],
    shape: tuple[int, ...],
    dtype: jnp.dtype,
    sharding: Sharding,
) -> jax.Array:
    """Builds a parameter: every device reads its own shard, layer by layer, from the files."""
    tensors = [files[name] for name in stored.names]
    shards: dict[tuple[tuple[int, int, int], ...], np.ndarray] = {}

    def shard(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None  # only of scalars, and no parameter is one
        ranges = tuple(part.indices(size) for part, size in zip(index, shape, strict=True))
        if ranges not in shards:  # devices that hold copies of a shard share one read
            buffer = _aligned_empty(tuple(len(range(*r)) for r in ranges), dtype)
            if stored.stacked:
                for row, layer in enumerate(range(*ranges[0])):
                    _read_into(buffer[row], tensors[layer], index[1:])
            else:
                _read_into(buffer, tensors[0], index)
            shards[ranges] = buffer
        return shards[ranges]

    return jax.make_array_from_callback(shape, sharding, shard)


def _read_into(buffer: np.ndarray, tensor: TensorInfo, index: tuple[slice, ...]) -> None:
    """Fills ``buffer`` with a part of a tensor, a few rows at a time."""
    start, stop, _ = index[0].indices(tensor.shape[0])
    row_bytes = 4 * int(np.prod(tensor.shape[1:]))
    rows = max(1, _PIECE // row_bytes)
    # The patch kernel is stored with five axes and held with two; only its first is ever sharded.
    others = index[1:] if len(tensor.shape) == len(index) else ()
    for low in range(start, stop, rows):
        high = min(low + rows, stop)
        target = buffer[low - start : high - start]
        target[...] = read_slice(tensor, (slice(low, high), *others)).reshape(target.shape)


def _aligned_empty(shape: tuple[int, ...], dtype: jnp.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(shape)


def _check(directory: Path, files: dict[str, TensorInfo], stored: dict[str, Stored]) -> None:
    expected = {name: entry.shape for entry in stored.values() for name in entry.names}
    problems = [f"missing: {name} {expected[name]}" for name in expected if name not in files]
    problems += [
        f"surplus: {tensor.name} {tensor.shape} in {tensor.file.name}"
        for name, tensor in files.items()
        if name not in expected
    ]
    for name, tensor in files.items():
        where = f"{tensor.name} in {tensor.file.name}"
        if name in expected and tensor.shape != expected[name]:
            problems.append(f"shape: {where}: expected {expected[name]}, got {tensor.shape}")
        if name in expected and tensor.dtype not in FLOATS:
            problems.append(
                f"dtype: {where}: expected one of {', '.join(FLOATS)}, got {tensor.dtype}"
            )
    if problems:
        listed = "\n  ".join(sorted(problems))
        raise ValueError(
            f"{directory}: {len(problems)} tensors do not fit config.json:\n  {listed}"
        )


def _without_tied_copy(
    files: dict[str, TensorInfo], config: Qwen2_5_VLConfig, directory: Path
) -> dict[str, TensorInfo]:
    """Drops the unembedding that some trainers write beside the embedding that it is tied to."""
    head, embedding = files.get("lm_head.weight"), files.get("model.embed_tokens.weight")
    if not config.tied or head is None or embedding is None:
        return files
    if not _same(head, embedding):
        raise ValueError(
            f"{directory}: config.json ties the unembedding to the embedding, but "
            f"{head.name} differs from {embedding.name}"
        )
    return {name: tensor for name, tensor in files.items() if name != "lm_head.weight"}


def _same(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two matrices are equal bit for bit; read a few rows at a time."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    count, rows = one.shape[0], max(1, _PIECE // (4 * one.shape[1]))
    pieces = [slice(low, min(low + rows, count)) for low in range(0, count, rows)]

    def bits(tensor: TensorInfo, piece: slice) -> np.ndarray:
        return np.ascontiguousarray(read_slice(tensor, (piece,))).view(np.uint8)

    return all(np.array_equal(bits(one, piece), bits(other, piece)) for piece in pieces)
