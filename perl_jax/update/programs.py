"""The update's compiled programs: pure functions of parameters and arrays."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from perl_jax.device_memory import explained_memory
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.objectives import Objective
from perl_jax.update.compiler_options import compiler_options
from perl_jax.update.forward import Head, response_logprobs
from perl_jax.update.optimizer import Optimizer, applied_updates, apply_gradients
from perl_jax.update.packing import MicroBatch
from perl_jax.update.state import Params, SplitPolicy, TrainState, shardings_of, state_shardings
from perl_jax.update.stats import Stats, of_batch, of_update

# (model, batch, banned, running) -> loss, stats. The losses of micro-batches add up to the loss of
# the mini-batch. Gradients of the text layers are added to ``running`` if it is given.
Loss = Callable[
    [Policy, MicroBatch, jax.Array, Sequence[jax.Array] | None], tuple[jax.Array, Stats]
]

# Makes a program from a name, a function and options of `jax.jit`. A plan makes its own, and lists
# them by name.
Compile = Callable[..., Any]


class Program:
    """A compiled function that says what to lower if a device has not enough memory."""

    def __init__(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        self._name = name
        self._jitted = jax.jit(function, **options)
        self.trace, self.lower = self._jitted.trace, self._jitted.lower

    def __call__(self, *arguments: Any) -> Any:
        """Runs it, and names it in an error about memory."""
        with explained_memory(self._name, *arguments):
            return self._jitted(*arguments)


def jit(name: str, function: Callable[..., Any], **options: Any) -> Any:
    """The default `Compile`: a program that runs where its arguments are."""
    return Program(name, function, **options)


class Programs:
    """The compiled programs of one learner: the functions below with their first arguments bound.

    ``adapt``, of an objective that changes its KL coefficient, is its ``next_kl_coefficient``.

    ``add`` donates the gradients, ``apply`` the state. The shardings of results are fixed: the
    compiler could otherwise hold gradients whole on every device, and the optimizer's first
    moments, which depend on no input, whole on one.
    """

    def __init__(
        self,
        policy: SplitPolicy,
        params: Params,
        *,
        loss: Loss,
        head: Head,
        optimizer: Optimizer,
        schedule: optax.Schedule,
        sharding: BatchSharding,
        objective: Objective | None = None,
        compile: Compile = jit,
    ) -> None:
        kl_coefficient: float | None = None
        if objective is not None and objective.kl_target is not None:
            kl_coefficient = objective.kl_coefficient
            adapt = objective.next_kl_coefficient
            self.adapt = compile("adapt", adapt, out_shardings=sharding.replicated)
        like_params, replicated = shardings_of(params), sharding.replicated
        shapes = jax.eval_shape(optimizer.init, params)
        adaptive = kl_coefficient is not None
        like_state: Any = state_shardings(shapes, params, replicated, adaptive=adaptive)
        # A backward pass that goes layer by layer can add up gradients on its way.
        in_place = policy.text_layers if head.remat in ("inputs", "layers") else ()
        devices = next(iter(params.values())).sharding.device_set
        options = compiler_options(devices, sharding.mesh)
        self.start = compile(
            "start",
            partial(start, optimizer, kl_coefficient),
            static_argnums=2,
            out_shardings=like_state,
        )
        self.copy = compile("copy", copy_as, static_argnums=1, out_shardings=like_params)
        self.zeros = compile("zeros", partial(zero_gradients, params), out_shardings=like_params)
        self.add = compile(
            "add",
            partial(add_gradients, policy, loss, in_place),
            out_shardings=(like_params, replicated),
            donate_argnums=0,
            compiler_options=options,
        )
        self.apply = compile(
            "apply",
            partial(apply, optimizer, schedule),
            out_shardings=(like_state, replicated),
            donate_argnums=0,
        )
        # As the values of a micro-batch, which they join: other splits were another ``add``.
        self.score = compile(
            "score",
            partial(score, policy, head),
            out_shardings=sharding.along(0),
            compiler_options=options,
        )
        self.of_update = compile("of_update", of_update)
        self.of_batch = compile("of_batch", of_batch)


def start(
    optimizer: Optimizer,
    kl_coefficient: float | None,
    params: Params,
    key_data: jax.Array,
    key_impl: str,
) -> TrainState:
    """The state before the first update, of copies, as updates donate it."""
    return TrainState(
        params=jax.tree.map(jnp.copy, params),
        optimizer=optimizer.init(params),
        key=jax.random.wrap_key_data(key_data, impl=key_impl),
        skipped_in_a_row=jnp.zeros((), jnp.int32),
        kl_coefficient=None if kl_coefficient is None else jnp.float32(kl_coefficient),
    )


def zero_gradients(params: Params) -> Params:
    """Gradients of 0, float32 for parameters of any dtype."""
    return {path: jnp.zeros(leaf.shape, jnp.float32) for path, leaf in params.items()}


def add_gradients(
    policy: SplitPolicy,
    loss: Loss,
    in_place: Sequence[str],
    total: Params,
    params: Params,
    frozen: Params,
    batch: MicroBatch,
    banned: jax.Array,
) -> tuple[Params, Stats]:
    """Adds the gradients of a micro-batch's loss to ``total``; returns it and the statistics.

    ``in_place`` is empty or `SplitPolicy.text_layers`: these gradients are then added layer by
    layer and never exist all at once.
    """
    others = {path: leaf for path, leaf in params.items() if path not in in_place}
    running = [total[path] for path in in_place]

    def micro_loss(others: Params, running: list[jax.Array]) -> tuple[jax.Array, Stats]:
        model = policy.merge({**frozen, **params, **others})
        return loss(model, batch, banned, running or None)

    gradients_of = jax.grad(micro_loss, argnums=(0, 1), has_aux=True)
    (gradients, running), stats = gradients_of(others, running)
    added = {path: total[path] + gradients[path].astype(jnp.float32) for path in others}
    return added | dict(zip(in_place, running, strict=True)), stats


def apply(
    optimizer: Optimizer,
    schedule: optax.Schedule,
    state: TrainState,
    gradients: Params,
) -> tuple[TrainState, Stats]:
    """Makes one update, or none if it is not finite; see `apply_gradients`."""
    rate = jnp.asarray(schedule(applied_updates(state.optimizer)), jnp.float32)
    params, optimizer_state, stats = apply_gradients(
        optimizer, state.params, state.optimizer, gradients
    )
    skipped = jnp.where(stats["optimizer/skipped"] > 0, state.skipped_in_a_row + 1, 0)
    state = TrainState(params, optimizer_state, state.key, skipped, state.kl_coefficient)
    made = 1 - stats["optimizer/skipped"]
    return state, stats | {"optimizer/learning_rate": rate, "update/applied": made}


def score(
    policy: SplitPolicy,
    head: Head,
    params: Params,
    frozen: Params,
    batch: MicroBatch,
    banned: jax.Array,
) -> jax.Array:
    """Log-probabilities of the responses, ``[O, N, R]``."""
    return response_logprobs(policy.merge({**frozen, **params}), batch, banned, head)[0]


def copy_as(params: Params, dtype: jnp.dtype) -> Params:
    """Copies parameters in a dtype."""
    return {path: jnp.copy(leaf.astype(dtype)) for path, leaf in params.items()}


def wait_for_all_but_last(results: Sequence[Any]) -> None:
    """Called after every micro-batch, keeps the devices from holding more than two of them."""
    jax.block_until_ready(results[-2:-1])
