"""Adapters as a directory of PEFT: adapter_config.json and adapter_model.safetensors."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from perl_jax.files import whole_directory
from perl_jax.legible import brief, field_name
from perl_jax.models.families import FAMILIES
from perl_jax.models.load import FLOATS, check_finite
from perl_jax.models.lora import (
    DOWN,
    UP,
    LoraConfig,
    adapted_maps,
    adapters_of,
    exactly,
    linear_maps,
    merged,
    rank_and_alpha,
    with_adapters,
    with_values,
)
from perl_jax.models.policy import Policy
from perl_jax.models.safetensors_files import TensorInfo, listed, read_slice, read_tensors
from perl_jax.models.save import Tensor, write_on_one_host
from perl_jax.processing.files import read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_ENDS = {DOWN: f".{DOWN}.weight", UP: f".{UP}.weight"}
# What other adapters of PEFT do to a map, by the field that asks for it, and its value here.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
    "trainable_token_indices": ([], {}, None),
}


def save_adapter(model: Policy, path: str | Path, base: str) -> None:
    """Writes the adapters of a model as a directory that PEFT loads, in float32.

    If the model spans several hosts, all must call this.

    Args:
        model: A policy of `perl_jax.models.lora.with_adapters`.
        path: A directory that does not exist or is empty.
        base: The path or hub id of the model under the adapters, for those who load them.

    Raises:
        FileExistsError: ``path`` is not empty.
        RuntimeError: On the other hosts, if the first one fails.
        ValueError: The model has no adapters.
    """
    rank, alpha = rank_and_alpha(model)
    tensors = {
        stored.name: Tensor(leaf, stored.layer, stored.shape_of(leaf), np.dtype(np.float32))
        for where, leaf in adapters_of(model)
        for stored in _stored(model, where)
    }
    modules = {name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(modules),
    }
    write = partial(_write, path=Path(path), config=config)
    parts = ({name: tensor.read() for name, tensor in sorted(tensors.items())} for _ in range(1))
    if all(tensor.parameter.is_fully_addressable for tensor in tensors.values()):
        write(parts)
    else:
        write_on_one_host(write, parts)


def _write(
    parts: Iterable[Mapping[str, np.ndarray]], *, path: Path, config: Mapping[str, Any]
) -> None:
    with whole_directory(path) as unfinished:
        for part in parts:
            save_file(dict(part), unfinished / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (unfinished / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_adapter(directory: str | Path, model: Policy) -> dict[str, jax.Array]:
    """Reads a directory of PEFT into values for the adapters of a model, by path.

    Args:
        directory: Written by `save_adapter` or by PEFT.
        model: A policy with adapters of this rank and scale on these maps.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The adapters are of another kind, rank or scale, are for other maps, or hold
            numbers that are not finite.
    """
    directory = Path(directory).expanduser()
    check_scale(directory, *rank_and_alpha(model))
    tensors = _tensors(directory, model)
    wanted = {path: _stored(model, path) for path, _ in adapters_of(model)}
    names = {stored.name for entries in wanted.values() for stored in entries}
    problems = [f"missing: {name}" for name in names - tensors.keys()]
    problems += [f"surplus: {field_name(tensors[name].name)}" for name in tensors.keys() - names]
    for path, leaf in adapters_of(model):
        for stored in wanted[path]:
            shape = stored.shape_of(leaf)
            if stored.name in tensors and tensors[stored.name].shape != shape:
                got = tensors[stored.name].shape
                problems.append(f"shape: {stored.name}: expected {shape}, got {got}")
    if problems:
        raise ValueError(
            f"{directory}: {len(problems)} tensors do not fit the model and its adapters "
            f"(learner.lora.paths); {_base_line(directory)}:{listed(problems)}"
        )
    return with_values(model, {path: _read(tensors, entries) for path, entries in wanted.items()})


def check_scale(directory: str | Path, rank: int, alpha: float) -> None:
    """Raises ValueError unless a directory of PEFT has adapters of this rank and alpha.

    No weights are read. The exceptions are those of `read_adapter`.
    """
    directory = Path(directory).expanduser()
    asked = _config(directory)
    for name, mine, theirs in (("rank", rank, asked.rank), ("alpha", alpha, asked.alpha)):
        if mine != theirs:
            raise ValueError(
                f"{directory / CONFIG}: expected learner.lora.{name} = {mine:g}; got {theirs:g}"
            )


def warning_of_base(directory: str | Path, model: str) -> str | None:
    """What to say if a directory of PEFT names another base than this path or hub id.

    Only the last part of the names is compared: the same model may lie elsewhere.
    """
    directory = Path(directory).expanduser()
    base = _content(directory).get("base_model_name_or_path")
    mine = Path(model).expanduser()
    if not mine.is_dir():  # a hub id, perhaps of a revision
        mine = Path(model.partition("@")[0])
    if not base or Path(str(base)).name in (mine.name, mine.resolve().name):
        return None
    return (
        f"{directory}: {_base_line(directory)}; the model is {model}. With another model than "
        "their own, adapters do harm"
    )


def with_adapter(model: Policy, directory: str | Path) -> Policy:
    """A model with the adapters of a directory of PEFT merged into its weights.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The adapters are of another kind, do not fit the model, or hold numbers that are
            not finite.
    """
    directory = Path(directory).expanduser()
    config, there = _config(directory), _tensors(directory, model)
    paths = [
        path
        for path in linear_maps(model)
        if any(stored.name in there for stored in _stored(model, f"{path}.{DOWN}"))
    ]
    if not paths:
        raise ValueError(
            f"{directory}: expected adapters of this model's linear maps; got such as "
            f"{next(iter(there), 'none')}; {_base_line(directory)}"
        )
    model = with_adapters(model, exactly(config, paths), seed=0)
    values = read_adapter(directory, model)
    for path, linear in adapted_maps(model).items():
        linear.lora_A.set_value(values[f"{path}.{DOWN}"])
        linear.lora_B.set_value(values[f"{path}.{UP}"])
    return merged(model)


@dataclass(frozen=True)
class _Stored:
    """One tensor of an adapter: its name in the file, and the layer of a stacked one."""

    name: str
    layer: int | None

    def shape_of(self, adapter: Any) -> tuple[int, ...]:
        return tuple(adapter.shape if self.layer is None else adapter.shape[1:])


def _stored(model: Policy, path: str) -> list[_Stored]:
    """The tensors of the adapter at a path."""
    family = FAMILIES[model.config.model_type]
    where, _, name = path.rpartition(".")
    weight = linear_maps(model)[where].weight.get_value()
    stored = family.stored(f"{where}.weight", weight.shape, model.config)
    return [
        _Stored(
            _PREFIX + family.module_name(one).removesuffix(".weight") + _ENDS[name],
            layer if stored.stacked else None,
        )
        for layer, one in enumerate(stored.names)
    ]


def _config(directory: Path) -> LoraConfig:
    """Rank and alpha of a directory; raises ValueError if its adapters do more than ours."""
    file, content = directory / CONFIG, _content(directory)
    for name, plain in _PLAIN.items():
        if content.get(name, plain[-1]) not in plain:
            raise ValueError(
                f"{file}: {name}: expected {plain[0]!r}, as only plain LoRA of one rank is read; "
                f"got {brief(content.get(name))}"
            )
    try:
        return LoraConfig(rank=content["r"], alpha=content["lora_alpha"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{file}: expected r and lora_alpha of an adapter; got {error}") from None


def _content(directory: Path) -> dict[str, Any]:
    file = directory / CONFIG
    if not file.is_file():
        raise FileNotFoundError(
            f"{directory}: expected a directory of adapters, with {CONFIG} and {WEIGHTS}; got "
            + ("one without the first" if directory.is_dir() else "no directory")
        )
    return read_json(file)


def _base_line(directory: Path) -> str:
    base = _content(directory).get("base_model_name_or_path")
    return f"these adapters are of {base or 'a model that they do not name'}"


def _tensors(directory: Path, model: Policy) -> dict[str, TensorInfo]:
    """The tensors of a directory, by the names that `save_adapter` gives them.

    Those of an earlier transformers, which has other module names, are translated.
    """
    family = FAMILIES[model.config.model_type]

    def ours(name: str) -> str:
        for end in _ENDS.values():
            if name.startswith(_PREFIX) and name.endswith(end):
                module = name.removeprefix(_PREFIX).removesuffix(end)
                return _PREFIX + family.module_name(family.published_name(module)) + end
        return name

    file = directory / WEIGHTS
    if not file.is_file():
        raise FileNotFoundError(f"{directory}: expected {WEIGHTS}; pickled weights are never read")
    tensors = {ours(tensor.name): tensor for tensor in read_tensors(file)}
    for tensor in tensors.values():
        if tensor.dtype not in FLOATS:
            raise ValueError(
                f"{file}: {tensor.name}: expected one of {', '.join(FLOATS)}; got {tensor.dtype}"
            )
    return tensors


def _read(tensors: Mapping[str, TensorInfo], entries: Iterable[_Stored]) -> np.ndarray:
    entries = list(entries)
    values = []
    for tensor in (tensors[one.name] for one in entries):
        values.append(read_slice(tensor, ()).astype(np.float32))
        check_finite(values[-1], tensor)
    return values[0] if entries[0].layer is None else np.stack(values)
