"""The optimizer, as optax transformations.

Parameters, gradients and updates are flat dicts by dotted path. Matrices are (out, in). Stacked
parameters have a leading layer axis; each layer is treated as a parameter of its own.
"""

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Interval

from perl_jax.models.paths import OUTER_MATRICES, STACKED, within
from perl_jax.settings import (
    Checked,
    Count,
    CountOrZero,
    Expects,
    Fraction,
    Positive,
    PositiveOrZero,
)

OptimizerName = Literal["adamw", "adafactor", "muon"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
_Patterns = Annotated[tuple[str, ...], Expects("a list of patterns")]
_Decay = Annotated[float, Interval(ge=0, lt=1), Expects("a number from 0 to below 1")]

_MUON_MOMENTUM = 0.95
# Scales an orthogonal update to the root mean square of AdamW's, arXiv 2502.16982 section 2.2, so
# that both kinds of parameters share a learning rate and a weight decay.
_MUON_RMS = 0.2
# Adafactor's cap on the root mean square of an update, arXiv 1804.04235 section 6.
_ADAFACTOR_CLIP = 1.0

Params = Mapping[str, jax.Array]
Tree = TypeVar("Tree")


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """How gradients move parameters.

    For all three optimizers the learning rate is about the size of an element of an update; for
    Muon's matrices, and for AdamW once gradients differ from update to update, a fifth of it.

    Attributes:
        name: ``adamw`` (arXiv 1711.05101); ``adafactor`` (arXiv 1804.04235) without first moment,
            with a factored second one and steps that do not grow with the parameter; or ``muon``
            (arXiv 2502.16982) for all matrices but embeddings, ``lm_head`` and the patch embedding,
            AdamW for these and vectors.
        learning_rate: The peak.
        rates: Pairs of a pattern and a factor on the learning rate, ``(("vision.*", 0.1),)``. A
            pattern must match the whole path of some trained parameter; of those that match a
            path, the first counts. 0 leaves parameters as they are.
        schedule: After the warm-up: ``constant``, or ``linear`` or ``cosine`` to ``final_scale``.
        warmup_updates: W: update u < W, from 0, is made at (u + 1) / W of the peak.
        final_scale: The fraction of the peak at the end of the run; ``constant`` ignores it.
        b1: Decay of AdamW's first moment. Muon's momentum is 0.95.
        b2: Decay of AdamW's second moment.
        epsilon: Added to AdamW's denominator.
        weight_decay: Decoupled: every update shrinks parameters by this times the learning rate.
        no_decay: Patterns of the paths that do not decay; each must match the whole path.
        max_grad_norm: Gradients of a larger global norm are scaled down to it; None: never.
        max_skipped: The run stops after so many non-finite, and so skipped, updates in a row.
        state_dtype: The first moment's dtype, ``float32`` or ``bfloat16``; other state is float32.
    """

    name: OptimizerName = "adamw"
    learning_rate: Positive = 1e-6
    rates: tuple[tuple[str, PositiveOrZero], ...] = ()
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: Annotated[CountOrZero, Expects("an integer of at least 0")] = 0
    final_scale: Fraction = 0.0
    b1: _Decay = 0.9
    b2: _Decay = 0.999
    # Below the least normal float32, AdamW's denominator could be 0.
    epsilon: Annotated[float, Ge(1e-37)] = 1e-8
    weight_decay: PositiveOrZero = 0.01
    no_decay: _Patterns = (r".*\.bias", r".*norm\d?\.weight", r".*\.ln_q\.weight")
    max_grad_norm: Annotated[Positive, Expects("a positive number or None")] | None = 1.0
    max_skipped: Annotated[Count, Expects("an integer of at least 1")] = 5
    state_dtype: Literal["float32", "bfloat16"] = "float32"

    def _check_together(self) -> None:
        for name, patterns in (
            ("no_decay", self.no_decay),
            ("rates", [pattern for pattern, _ in self.rates]),
        ):
            for pattern in patterns:
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(
                        f"{name}: expected regular expressions; got {pattern!r} ({error})"
                    ) from None


def learning_rate_schedule(config: OptimizerConfig, total_updates: int) -> optax.Schedule:
    """The learning rate as a function of the number of updates applied before.

    A decay starts at the peak with update W = ``warmup_updates`` and would reach ``final_scale``
    with update T = ``total_updates``; the last update is T - 1.

    Raises:
        ValueError: The run ends before the warm-up does.
    """
    peak, warmup = config.learning_rate, config.warmup_updates
    if total_updates < 1:
        raise ValueError(f"total_updates: expected at least 1; got {total_updates!r}")
    if warmup >= total_updates:
        raise ValueError(
            f"optimizer.warmup_updates: expected fewer than the run's {total_updates} updates; "
            f"got {warmup}"
        )
    rest = total_updates - warmup
    if config.schedule == "linear":
        decay = optax.linear_schedule(peak, peak * config.final_scale, rest)
    elif config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest, config.final_scale)
    else:
        decay = optax.constant_schedule(peak)
    if warmup == 0:
        return decay
    rise = optax.linear_schedule(0.0, peak, warmup)
    # At a learning rate of 0 the first update would be wasted.
    return optax.join_schedules([lambda count: rise(count + 1), decay], [warmup])


def make_optimizer(
    config: OptimizerConfig, total_updates: int, params: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Builds the optimizer of ``params``: arrays by path, or anything with a shape.

    Its steps, in order: clipping by the global norm, the optimizer's direction, weight decay, the
    learning rate and its factors. It computes in float32 and keeps its state in float32 (but for
    ``state_dtype``), whatever the dtype of parameters and gradients.

    Raises:
        ValueError: There are no parameters, a pattern of ``rates`` matches none, or the schedule
            does not fit the run.
    """
    if not params:
        raise ValueError("params: expected at least one trainable parameter; got none")
    schedule = learning_rate_schedule(config, total_updates)
    decays = {
        path: not any(re.fullmatch(pattern, path) for pattern in config.no_decay) for path in params
    }
    factors = rate_factors(config, params)
    # The state of a run without factors stays as it is.
    scaled = [optax.stateless(partial(_scaled, factors))] if config.rates else []
    clip = [] if config.max_grad_norm is None else [optax.clip_by_global_norm(config.max_grad_norm)]
    return _in_float32(
        optax.chain(
            *clip,
            _direction(config, params),
            optax.add_decayed_weights(config.weight_decay, decays),
            *scaled,
            optax.scale_by_learning_rate(schedule),
        )
    )


def rate_factors(config: OptimizerConfig, paths: Iterable[str]) -> dict[str, float]:
    """The factor on the learning rate of each parameter.

    Raises:
        ValueError: A pattern matches no parameter.
    """
    paths = list(paths)
    for pattern, _ in config.rates:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ValueError(
                f"optimizer.rates: {pattern!r} matches no trained parameter; they are such as "
                f"{', '.join(sorted(paths)[:3])}"
            )
    matching = {
        path: [factor for pattern, factor in config.rates if re.fullmatch(pattern, path)]
        for path in paths
    }
    return {path: factors[0] if factors else 1.0 for path, factors in matching.items()}


def _scaled(factors: Mapping[str, float], updates: Params, _: Any) -> dict[str, jax.Array]:
    return {path: update * factors[path] for path, update in updates.items()}


def applied_updates(optimizer_state: Any) -> jax.Array:
    """The number of updates that made this state, int32, without skipped ones."""
    return optimizer_state[-1].count


def apply_gradients(
    optimizer: optax.GradientTransformation, params: Params, optimizer_state: Any, gradients: Params
) -> tuple[dict[str, jax.Array], Any, dict[str, jax.Array]]:
    """Makes one update with an optimizer of `make_optimizer`, or none if it is not finite.

    It is pure, and may be compiled with ``params`` and ``optimizer_state`` donated.

    Returns:
        Parameters, state, and statistics: ``optimizer/grad_norm`` before clipping,
        ``optimizer/update_norm`` and ``optimizer/param_norm`` after the update, global and float32,
        and ``optimizer/skipped``, int32. If the norm of the gradients or of the update is not
        finite, ``skipped`` is 1, ``update_norm`` 0, and parameters and state, counters included,
        are unchanged.

    Raises:
        ValueError: Gradients and parameters differ in paths or shapes.
    """
    _check_gradients(params, gradients)
    grad_norm = optax.tree.norm(_as_float32(gradients))
    updates: Any
    updates, moved_state = optimizer.update(gradients, optimizer_state, params)
    update_norm = optax.tree.norm(updates)
    finite = jnp.isfinite(grad_norm) & jnp.isfinite(update_norm)

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(finite, new, old)

    def move(value: jax.Array, update: jax.Array) -> jax.Array:
        return keep((value.astype(jnp.float32) + update).astype(value.dtype), value)

    moved = {path: move(value, updates[path]) for path, value in params.items()}
    stats = {
        "optimizer/grad_norm": grad_norm,
        "optimizer/update_norm": jnp.where(finite, update_norm, 0.0),
        "optimizer/param_norm": optax.tree.norm(_as_float32(moved)),
        "optimizer/skipped": jnp.where(finite, 0, 1).astype(jnp.int32),
    }
    return moved, jax.tree.map(keep, moved_state, optimizer_state), stats


def _direction(config: OptimizerConfig, params: Mapping[str, Any]) -> optax.GradientTransformation:
    """Turns gradients into updates, before weight decay and learning rate."""
    if config.name == "adafactor":
        return _adafactor(params)
    dtype = jnp.dtype(config.state_dtype)
    adam = optax.scale_by_adam(config.b1, config.b2, config.epsilon, mu_dtype=dtype)
    return adam if config.name == "adamw" else _muon(dtype, params, adam)


def _muon(
    dtype: jnp.dtype, params: Mapping[str, Any], adam: optax.GradientTransformation
) -> optax.GradientTransformation:
    labels = {
        path: "muon" if _is_hidden_matrix(path, value.shape) else "adam"
        for path, value in params.items()
    }
    into_and_out = optax.contrib.MuonDimensionNumbers(reduction_axis=-1, output_axis=-2)
    numbers = {
        path: into_and_out if label == "muon" else optax.MaskedNode()
        for path, label in labels.items()
    }
    orthogonal = optax.contrib.scale_by_muon(
        beta=_MUON_MOMENTUM, mu_dtype=dtype, weight_dimension_numbers=numbers
    )

    def match_rms(update: Any, _: Any) -> jax.Array:
        return update * (_MUON_RMS * math.sqrt(max(update.shape[-2:])))

    muon = optax.chain(orthogonal, optax.stateless_with_tree_map(match_rms))
    return optax.partition({"muon": muon, "adam": adam}, labels)


def _adafactor(params: Mapping[str, Any]) -> optax.GradientTransformation:
    # optax factors the two largest axes, of which a layer axis may be one, and clips whole arrays.
    # Mapped over the layers, both see one layer's parameter at a time.
    each = optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(_ADAFACTOR_CLIP))
    mapped = optax.GradientTransformation(jax.vmap(each.init), jax.vmap(each.update))
    labels = {path: _stack(path) or "single" for path in params}
    transformations: dict[Hashable, optax.GradientTransformation] = {
        label: mapped if label in STACKED else each for label in labels.values()
    }
    return optax.partition(transformations, labels)


def _stack(path: str) -> str | None:
    """The stack of layers that a parameter belongs to, if any."""
    return next((module for module in STACKED if within(path, module)), None)


def _is_hidden_matrix(path: str, shape: tuple[int, ...]) -> bool:
    rank = len(shape) - (_stack(path) is not None)
    return rank == 2 and not re.fullmatch(OUTER_MATRICES, path)


def _in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return inner.update(_as_float32(updates), state, _as_float32(params))

    return optax.GradientTransformation(lambda params: inner.init(_as_float32(params)), update)


def _as_float32(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def _check_gradients(params: Params, gradients: Params) -> None:
    if odd := sorted(params.keys() ^ gradients.keys()):
        raise ValueError(
            f"gradients: expected one for each of {len(params)} parameters; {odd[0]!r} is among "
            f"{'the parameters' if odd[0] in params else 'the gradients'} only"
        )
    for path, value in params.items():
        if gradients[path].shape != value.shape:
            raise ValueError(
                f"gradients: {path}: expected shape {list(value.shape)}; "
                f"got {list(gradients[path].shape)}"
            )
