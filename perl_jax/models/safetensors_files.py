"""Reading the tensors of a directory of safetensors files, one slice at a time."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from perl_jax.files import parse_json
from perl_jax.legible import brief, field_name, name_list

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's file, its name there, shape and dtype."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def read_headers(directory: Path) -> dict[str, TensorInfo]:
    """Lists every tensor of a directory by its stored name, without reading any.

    Raises:
        FileNotFoundError: There is no safetensors file, or one that the index names is missing.
        ValueError: The index or a file is damaged.
    """
    tensors: dict[str, TensorInfo] = {}
    for file in _files(directory):
        for tensor in read_tensors(file):
            if tensor.name in tensors:
                other = tensors[tensor.name].file.name
                raise ValueError(f"{file}: tensor {tensor.name} is also in {other}")
            tensors[tensor.name] = tensor
    return tensors


def read_tensors(file: Path) -> list[TensorInfo]:
    """Lists the tensors of one file, without reading any; raises ValueError if it is damaged."""
    with _open(file) as content:
        parts = [(name, content.get_slice(name)) for name in content.keys()]  # noqa: SIM118
        return [
            TensorInfo(file, name, tuple(part.get_shape()), part.get_dtype())
            for name, part in parts
        ]


def read_slice(tensor: TensorInfo, index: tuple[slice, ...]) -> np.ndarray:
    """Reads a part of a tensor; nothing else of the file stays in memory."""
    with _open(tensor.file) as content:
        part = content.get_slice(tensor.name)
        return part[index] if index else content.get_tensor(tensor.name)


def listed(problems: list[str], most: int = 20) -> str:
    """Problems of tensors, the first of them in order, each on a line of its own."""
    lines = sorted(problems)[:most]
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    return "".join(f"\n  {line}" for line in (*lines, *more))


def _open(file: Path) -> Any:
    try:
        # A memory map's pages would count as the process's memory until it is closed.
        return safe_open(file, framework="np", backend="pread")
    except (SafetensorError, OSError) as error:
        # The message has parts of the header in it.
        why = field_name(error)
        raise ValueError(f"{file}: not a complete safetensors file ({why})") from error


def _files(directory: Path) -> list[Path]:
    if (index := directory / INDEX).is_file():
        return _indexed_files(index)
    if (single := directory / SINGLE).is_file():
        return [single]
    others = sorted(f.name for f in directory.iterdir() if f.suffix in {".bin", ".pt", ".pth"})
    hint = f"; {name_list(others)}: pickled weights are never read" if others else ""
    raise FileNotFoundError(f"{directory}: expected {SINGLE} or {INDEX}{hint}")


def _indexed_files(index: Path) -> list[Path]:
    try:
        weight_map = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        named = list(weight_map.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index}: expected an object with a weight_map ({brief(error)})"
        ) from error
    if unnamed := [name for name in named if not isinstance(name, str)]:
        raise ValueError(f"{index}: weight_map: expected names of files, got {brief(unnamed[0])}")
    names = sorted(set(named))
    outside = [name for name in names if Path(name).name != name or Path(name).suffix == ".bin"]
    if outside:
        raise ValueError(
            f"{index}: weight_map: expected safetensors files of this directory, "
            f"got {brief(outside[0])}"
        )
    # Path.is_file() raises OSError for names that are too long for a file.
    missing = [name for name in names if not os.path.isfile(index.parent / name)]
    if missing:
        raise FileNotFoundError(
            f"{index.parent}: missing {name_list(missing)} of the {len(names)} files that "
            f"{index.name} names"
        )
    return [index.parent / name for name in names]
