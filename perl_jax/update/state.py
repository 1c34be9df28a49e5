"""The state that training changes, and the policy without it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax.sharding import Sharding

from perl_jax.models import Policy
from perl_jax.models.lora import is_adapter
from perl_jax.models.paths import TEXT_LAYERS, leaves_of, with_leaves, within

Params = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What a step changes and a checkpoint holds.

    Attributes:
        params: The trainable parameters by dotted path.
        optimizer: The optimizer's state.
        key: The run's PRNG key; a step folds its number in.
        skipped_in_a_row: int32, updates skipped since the last applied one.
        kl_coefficient: float32, the factor of the penalty; None if it is constant.
    """

    params: Params
    optimizer: Any
    key: jax.Array
    skipped_in_a_row: jax.Array
    kl_coefficient: jax.Array | None = None


def shardings_of(params: Mapping[str, jax.Array]) -> dict[str, Sharding]:
    """The shardings of parameters, and of their gradients and copies."""
    return {path: leaf.sharding for path, leaf in params.items()}


def state_shardings(
    optimizer_state: Any,
    params: Mapping[str, jax.Array],
    replicated: Sharding,
    *,
    adaptive: bool = False,
) -> TrainState:
    """The shardings of a `TrainState`, from the optimizer's arrays or their shapes.

    ``adaptive``: it has a ``kl_coefficient``.

    Arrays of a parameter's path and shape are split as the parameter is; others are replicated.
    """

    def place(path: tuple[Any, ...], leaf: Any) -> Sharding:
        keys = (key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        owner = next((params[key] for key in keys if key in params), None)
        return replicated if owner is None or owner.shape != leaf.shape else owner.sharding

    like_params: Any = shardings_of(params)
    optimizer = jax.tree_util.tree_map_with_path(place, optimizer_state)
    scalar: Any = replicated
    return TrainState(like_params, optimizer, scalar, scalar, scalar if adaptive else None)


class SplitPolicy:
    """A policy without its trainable parameters: of a model with adapters, these alone.

    Attributes:
        definition: The NNX module's graph definition, static and hashable.
        frozen: The frozen parameters by path.
        paths: The paths of the trainable parameters.
        text_layers: The paths of the language model's layers, in the order of the module's leaves;
            empty unless all are trainable.
    """

    def __init__(
        self, model: Policy, trainable: Sequence[str] = (".*",), frozen: Sequence[str] = ()
    ) -> None:
        self.definition, state = nnx.split(model)
        params = flatten(state)
        self._state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        for name, patterns in (("trainable", trainable), ("frozen", frozen)):
            for pattern in patterns:
                if not any(re.fullmatch(pattern, path) for path in params):
                    raise ValueError(
                        f"{name}: {pattern!r} matches no parameter; they are such as "
                        f"{', '.join(sorted(params)[:3])}"
                    )
        chosen = [p for p in params if _matches(p, trainable) and not _matches(p, frozen)]
        adapters = [path for path in params if is_adapter(path)]
        if left_out := [path for path in adapters if path not in chosen]:
            raise ValueError(
                "lora.paths: expected linear maps that trainable matches and frozen does not; got "
                f"{left_out[0].rpartition('.')[0]}"
            )
        self.paths = tuple(adapters or chosen)
        if not self.paths:
            raise ValueError("trainable, frozen: expected some parameter to be left; got none")
        layers = tuple(path for path in params if within(path, TEXT_LAYERS))
        self.text_layers = layers if set(layers) <= set(self.paths) else ()
        self.frozen = {path: leaf for path, leaf in params.items() if path not in self.paths}

    def split(self, model: Policy) -> Params:
        """The trainable parameters of a model of the same structure."""
        params = flatten(nnx.state(model))
        return {path: params[path] for path in self.paths}

    def merge(self, params: Mapping[str, jax.Array]) -> Policy:
        """The model with these trainable parameters, or with all parameters; nothing is copied."""
        every = {**self.frozen, **params}
        return nnx.merge(self.definition, with_leaves(self._state, lambda path, _: every[path]))


def flatten(state: Any) -> Params:
    """The arrays of an NNX state by dotted path."""
    return {path: leaf.get_value() for path, leaf in leaves_of(state).items()}


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in patterns)
