"""The optimizer, as optax transformations.

Parameters, gradients and updates are flat dicts by dotted path. Matrices are (out, in). Stacked
parameters have a leading layer axis; each layer is treated as a parameter of its own.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Interval

from perl_jax.legible import brief
from perl_jax.settings import (
    Checked,
    Count,
    CountOrZero,
    Expects,
    Fraction,
    Positive,
    PositiveOrZero,
)
from perl_jax.update.directions import adafactor, muon

OptimizerName = Literal["adamw", "adafactor", "muon"]
OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
_Patterns = Annotated[tuple[str, ...], Expects("a list of patterns")]
_Decay = Annotated[float, Interval(ge=0, lt=1), Expects("a number from 0 to below 1")]

# On a single CPU device, what an update holds at once is cut into about so many numbers.
_BLOCK = 2**16

Params = Mapping[str, jax.Array]
Tree = TypeVar("Tree")


class Optimizer(NamedTuple):
    """An `optax.GradientTransformation`, and how it may be run.

    Attributes:
        init: The state of parameters.
        update: The updates of parameters, and the next state; takes the gradients' ``norm``.
        twice: Whether to compute the updates a second time rather than to hold them.
        blocks: The parts, at most, in which the norm of the updates is added up.
    """

    init: Callable[[Any], Any]
    update: Callable[..., Any]
    twice: bool
    blocks: int


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
                        f"{name}: expected regular expressions; got {brief(pattern)} ({error})"
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
        raise ValueError(f"total_updates: expected at least 1; got {brief(total_updates)}")
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
) -> Optimizer:
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
    clip = [] if config.max_grad_norm is None else [_clip_by_norm(config.max_grad_norm)]
    chain = optax.chain(
        *clip,
        _direction(config, params),
        optax.add_decayed_weights(config.weight_decay, decays),
        *scaled,
        optax.scale_by_learning_rate(schedule),
    )
    elementwise = config.name == "adamw"
    blocks = _blocks(params) if elementwise else 1
    return Optimizer(_init_float32(chain), _update_float32(chain), elementwise, blocks)


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
    optimizer: Optimizer, params: Params, optimizer_state: Any, gradients: Params
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
    gradients = _as_float32(gradients)
    grad_norm = optax.tree.norm(gradients)
    update = partial(optimizer.update, norm=grad_norm)
    if optimizer.twice:
        held = None
        update_norm = _norm_of_updates(optimizer.blocks, update, gradients, optimizer_state, params)
    else:
        held = update(gradients, optimizer_state, params)
        update_norm = optax.tree.norm(held[0])
    finite = jnp.isfinite(grad_norm) & jnp.isfinite(update_norm)

    def move(
        params: dict[str, jax.Array], state: Any, gradients: Params
    ) -> tuple[dict[str, jax.Array], Any]:
        updates, state = held or update(gradients, state, params)
        moved = {
            path: (value.astype(jnp.float32) + updates[path]).astype(value.dtype)
            for path, value in params.items()
        }
        return moved, state

    # Within the condition, donated arrays are read and written once.
    moved, state = jax.lax.cond(
        finite, move, lambda params, state, _: (params, state), dict(params), optimizer_state,
        gradients,
    )  # fmt: skip
    stats = {
        "optimizer/grad_norm": grad_norm,
        "optimizer/update_norm": jnp.where(finite, update_norm, 0.0),
        "optimizer/param_norm": optax.tree.norm(_as_float32(moved)),
        "optimizer/skipped": jnp.where(finite, 0, 1).astype(jnp.int32),
    }
    return moved, state, stats


def _norm_of_updates(
    blocks: int, update: Callable[..., Any], gradients: Params, state: Any, params: Params
) -> jax.Array:
    """The global norm of updates, of which no more than a block is held at once.

    ``update`` is elementwise: arrays of the state that have a parameter's path are cut as it is.
    """

    def part(number: jax.Array | int, path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        if not any(isinstance(key, jax.tree_util.DictKey) for key in path):
            return leaf
        size = leaf.size // blocks
        return jax.lax.dynamic_slice_in_dim(leaf.reshape(-1), number * size, size)

    def add(number: jax.Array | int, total: jax.Array) -> jax.Array:
        cut = partial(part, number)
        trees = (gradients, state, dict(params))
        updates, _ = update(*jax.tree_util.tree_map_with_path(cut, trees))
        return total + sum(jnp.sum(jnp.square(one)) for one in updates.values())

    if blocks == 1:
        return optax.tree.norm(update(gradients, state, params)[0])
    return jnp.sqrt(jax.lax.fori_loop(0, blocks, add, jnp.float32(0)))


def _blocks(params: Mapping[str, Any]) -> int:
    """The parts in which `_norm_of_updates` reads arrays of these shapes.

    XLA fuses all of it into one pass, but on a CPU, where it holds four arrays of every parameter
    instead. Arrays that are split over devices are not cut.
    """
    sharding = getattr(next(iter(params.values())), "sharding", None)
    devices = set() if sharding is None else sharding.device_set
    if [device.platform for device in devices] != ["cpu"]:
        return 1
    sizes = [math.prod(leaf.shape) for leaf in params.values()]
    most = max(1, sum(sizes) // _BLOCK)
    common = math.gcd(*sizes)
    return max(count for count in range(1, most + 1) if common % count == 0)


def _clip_by_norm(most: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm`, of a norm that is given as ``norm`` if it is known.

    Multiplying by a factor rounds otherwise than dividing by the norm does, in the last bit.
    """

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        norm = extra["norm"] if "norm" in extra else optax.tree.norm(updates)
        factor = jnp.where(norm < most, 1.0, most / norm)
        return jax.tree.map(lambda update: update * factor, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def _direction(config: OptimizerConfig, params: Mapping[str, Any]) -> optax.GradientTransformation:
    """Turns gradients into updates, before weight decay and learning rate."""
    if config.name == "adafactor":
        return adafactor(params)
    dtype = jnp.dtype(config.state_dtype)
    adam = optax.scale_by_adam(config.b1, config.b2, config.epsilon, mu_dtype=dtype)
    return adam if config.name == "adamw" else muon(dtype, params, adam)


def _init_float32(inner: optax.GradientTransformation) -> Callable[[Any], Any]:
    return lambda params: inner.init(_as_float32(params))


def _update_float32(inner: optax.GradientTransformation) -> Callable[..., Any]:
    chain = optax.with_extra_args_support(inner)

    def update(updates: Any, state: Any, params: Any, **extra: Any) -> Any:
        return chain.update(_as_float32(updates), state, _as_float32(params), **extra)

    return update


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
