"""Loading a policy from a Hugging Face directory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from jax.sharding import Mesh, Sharding, SingleDeviceSharding
from jax.typing import DTypeLike

from perl_jax.hub import resolve_directory
from perl_jax.legible import field_name
from perl_jax.models.families import FAMILIES, abstract_model, parse_config
from perl_jax.models.family import Stored
from perl_jax.models.paths import leaves_of, with_leaves
from perl_jax.models.policy import Policy
from perl_jax.models.safetensors_files import TensorInfo, listed, read_headers, read_slice
from perl_jax.models.source import Source
from perl_jax.processing.files import read_json

FLOATS = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}
# Tensors are read in pieces of at most this many bytes, so that none is held twice.
_PIECE = 64 << 20
# jax takes a host buffer without a copy only with this alignment.
_ALIGNMENT = 64


def load_model(
    path: str | Path,
    *,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None = None,
    mesh: Mesh | None = None,
) -> Policy:
    """Loads a policy from its Hugging Face directory.

    Only safetensors and JSON are read, tensor by tensor: the host holds at most the checkpoint's
    size plus its largest tensor. On a mesh, each host reads only the shards of its devices.

    Args:
        path: A local directory, or a hub id ``organisation/name``, also with ``@revision``.
        dtype: The dtype of the parameters, whatever the dtype of the files.
        compute_dtype: The dtype of the activations; None: ``dtype``.
        mesh: The devices to shard the parameters over; None: the first device holds everything.

    Raises:
        FileNotFoundError: The directory, config.json or a weight file is missing.
        ValueError: config.json asks for another architecture, a file is damaged, or tensors are
            missing, surplus or of another shape; the message lists all of them. Or a weight is NaN
            or infinite; names its file and tensor.
    """
    directory = resolve_directory(path)
    content = read_json(directory / "config.json")
    config = parse_config(content, where=str(directory / "config.json"))
    family = FAMILIES[config.model_type]
    in_files = read_headers(directory)
    files = {family.published_name(name): tensor for name, tensor in in_files.items()}
    if tied := family.tied(config):
        files = _without_tied_copy(files, *tied, directory)
    source = Source(
        directory=directory,
        config=content,
        names={name: tensor.name for name, tensor in files.items()},
        dtypes={name: tensor.dtype for name, tensor in files.items()},
    )
    model = abstract_model(config, dtype=dtype, compute_dtype=compute_dtype, source=source)
    definition, state = nnx.split(model)
    leaves = leaves_of(state)
    stored = {path: family.stored(path, leaf.shape, config) for path, leaf in leaves.items()}
    _check(directory, files, stored)
    alone: Sharding = SingleDeviceSharding(jax.local_devices()[0])
    arrays = {}
    # The largest first: the last one is held beside everything else.
    for name in sorted(leaves, key=lambda name: -leaves[name].size):
        shape = leaves[name].shape
        sharding = alone if mesh is None else config.sharding(name, shape, mesh)
        arrays[name] = _read_parameter(stored[name], files, shape, jnp.dtype(dtype), sharding)
    return nnx.merge(definition, with_leaves(state, lambda name, _: arrays[name]))


def _read_parameter(
    stored: Stored,
    files: dict[str, TensorInfo],
    shape: tuple[int, ...],
    dtype: jnp.dtype,
    sharding: Sharding,
) -> jax.Array:
    """Builds a parameter; each device's shard is read layer by layer from the files."""
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
    # The patch kernel has five axes in the file and two in memory; only its first is ever sharded.
    others = index[1:] if len(tensor.shape) == len(index) else ()
    for low in range(start, stop, rows):
        high = min(low + rows, stop)
        target = buffer[low - start : high - start]
        piece = read_slice(tensor, (slice(low, high), *others))
        check_finite(piece, tensor)
        target[...] = piece.reshape(target.shape)


def check_finite(piece: np.ndarray, tensor: TensorInfo) -> None:
    """Refuses weights that would make every output of the policy NaN."""
    finite = np.isfinite(piece)
    if not finite.all():
        bad = np.argwhere(~finite)
        raise ValueError(
            f"{tensor.file}: tensor {tensor.name}: expected finite weights; got "
            f"{float(piece[tuple(bad[0])])} and {len(bad) - 1} others like it among the "
            f"{piece.size} read together"
        )


def _aligned_empty(shape: tuple[int, ...], dtype: jnp.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(shape)


def _check(directory: Path, files: dict[str, TensorInfo], stored: dict[str, Stored]) -> None:
    expected = {name: entry.shape for entry in stored.values() for name in entry.names}
    problems = [f"missing: {name} {expected[name]}" for name in expected if name not in files]
    for name, tensor in files.items():
        shown = field_name(tensor.name)
        where = f"{shown} in {tensor.file.name}"
        if name not in expected:
            problems.append(f"surplus: {shown} {tensor.shape} in {tensor.file.name}")
        elif tensor.shape != expected[name]:
            problems.append(f"shape: {where}: expected {expected[name]}, got {tensor.shape}")
        if name in expected and tensor.dtype not in FLOATS:
            problems.append(
                f"dtype: {where}: expected one of {', '.join(FLOATS)}, got {tensor.dtype}"
            )
    if problems:
        raise ValueError(
            f"{directory}: {len(problems)} tensors do not fit config.json:{listed(problems)}"
        )


def _without_tied_copy(
    files: dict[str, TensorInfo], unembedding: str, embedding: str, directory: Path
) -> dict[str, TensorInfo]:
    """Drops the unembedding that some trainers write beside the embedding that it is tied to."""
    if unembedding not in files or embedding not in files:
        return files
    if not _same(files[unembedding], files[embedding]):
        raise ValueError(
            f"{directory}: config.json ties the unembedding to the embedding, but "
            f"{files[unembedding].name} differs from {files[embedding].name}"
        )
    return {name: tensor for name, tensor in files.items() if name != unembedding}


def _same(one: TensorInfo, other: TensorInfo) -> bool:
    """Whether two matrices are equal bit for bit."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    count, rows = one.shape[0], max(1, _PIECE // (4 * one.shape[1]))
    pieces = [slice(low, min(low + rows, count)) for low in range(0, count, rows)]

    def bits(tensor: TensorInfo, piece: slice) -> np.ndarray:
        return np.ascontiguousarray(read_slice(tensor, (piece,))).view(np.uint8)

    return all(np.array_equal(bits(one, piece), bits(other, piece)) for piece in pieces)
