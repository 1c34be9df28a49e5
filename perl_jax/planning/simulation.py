"""What a step calls when responses have lengths drawn from a distribution; nothing is compiled.

The run's own learner and sampler work on shapes, as in `perl_jax.planning.rehearsal`. The sampler
refills and shrinks its batch as responses end, and the learner deals, packs and pads them, so that
every call is counted with the tokens that it computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.models.paths import VISION, within
from perl_jax.planning.rehearsal import (
    OF_ROLLOUTS,
    Call,
    Recorder,
    Rehearsal,
    ShapeRunner,
    size_of,
)
from perl_jax.planning.work import Work, arguments_of, owned_share, work_of
from perl_jax.planning.workload import log_normal, make_batch
from perl_jax.rollout.sampling import Sampling
from perl_jax.types import Responses
from perl_jax.update.operations import forward_operations

# Called once in a run, not in a step.
_ONCE = frozenset({"start", "copy"})


@dataclass(frozen=True)
class Extent:
    """How far the arrays of a call of the sampler reach, in one shard.

    Attributes:
        axis: The length of their axis of orders, prompts or patches.
        rows: What is computed along it: rollouts, prompts or patches.
        shards: The number of shards. An array of all of them has so many times the length.
    """

    axis: int
    rows: int
    shards: int


@dataclass(frozen=True)
class LoggedCall:
    """One call of a program in a step.

    Attributes:
        size: Bytes of its arguments and results on all devices together.
        work: The work of a chip; None for programs that do not run the model.
        extent: Of programs whose calls have more or fewer orders, prompts or patches.
    """

    size: int
    work: Work | None
    extent: Extent | None = None


Log = Mapping[str, Sequence[LoggedCall]]


@dataclass(frozen=True)
class Simulation:
    """A step whose responses have drawn lengths.

    Attributes:
        calls: Its calls by program.
        unfiltered: Its calls for rollouts if every group informed.
        of_rollouts: The least operations of its rollouts, of all groups that are drawn.
        of_update: The least operations of the learner.
        tokens: Prompt and response tokens of all rollouts of the groups that are kept; a prompt
            counts once for each of its rollouts.
        read: The tokens that the learner reads of these groups, each prompt once.
        waits: How many of the calls that decode are dispatched after the host has read the last
            one; the others are dispatched ahead.
        waits_unfiltered: The same if every group informed.
    """

    calls: Log
    unfiltered: Log
    of_rollouts: int
    of_update: int
    tokens: int
    read: int
    waits: int
    waits_unfiltered: int


class _Logger(Recorder):
    """Notes every call. What the learner's programs give is known from a recorded step."""

    def __init__(self, rehearsal: Rehearsal, recorded: Recorder) -> None:
        super().__init__()
        self._config, self._recorded = rehearsal.config, recorded
        self.log: dict[str, list[LoggedCall]] = {}
        trained = recorded.kept["parameters"]
        self._vision_trained = any(within(path, VISION) for path in trained)
        self._shards = {True: 1, False: 1}
        mesh, of_rollouts = self._config.mesh, self._config.rollout.mesh
        if mesh is not None:
            self._shards = dict.fromkeys((True, False), mesh.data * mesh.fsdp)
        if of_rollouts is not None:
            self._shards[True] = of_rollouts.data * of_rollouts.fsdp

    def call(self, name: str, function: Any, *arguments: Any) -> Any:
        """Notes a call and returns the shapes of its results."""
        results = super().call(name, function, *arguments)
        if name in _ONCE:
            return results
        shapes = jax.tree.map(self.shape, arguments)
        # The same functions as in a recorded step, whose names are those of its programs.
        call = Call(name, function, shapes, 0)
        shards = self._shards[name in OF_ROLLOUTS]
        work = work_of(call, self._config, shards, vision_trained=self._vision_trained)
        if name == "decode" and work is not None:
            given = arguments_of(Call(name, function, arguments, 0))
            slots = given["state"].cache.keys.shape[1]
            work = replace(work, owned=owned_share(slots, int(given["time"]) + work.steps))
        logged = LoggedCall(size_of((shapes, results)), work, _extent(call, shards))
        self.log.setdefault(name, []).append(logged)
        return results

    def leave_out_vain_chunks(self, runner: ShapeRunner) -> None:
        """Leaves out the chunk behind one in which everything ended: the devices make no step."""
        read = runner.stats["decode_steps"] // self._config.rollout.sampler.chunk
        del self.log.get("decode", [])[read:]

    def results_of(self, name: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        """As they were recorded, where the shapes of the responses do not change them."""
        if name in ("score", "reference"):
            return jax.ShapeDtypeStruct(arguments[2].tokens.shape, jnp.float32)
        if name in self._recorded.results and name not in OF_ROLLOUTS:
            return self._recorded.results[name]
        if name == "decode":
            steps, state = arguments[3], arguments[5]
            drawn = (*state.tokens.shape, steps)
            tokens, logprobs = (jax.ShapeDtypeStruct(drawn, d) for d in (jnp.int32, jnp.float32))
            done = jax.ShapeDtypeStruct(state.tokens.shape, jnp.bool_)
            return state, tokens, logprobs, jax.ShapeDtypeStruct((), jnp.int32), done
        return super().results_of(name, function, arguments)


def _extent(call: Call, shards: int) -> Extent | None:
    given = arguments_of(call)
    match call.name:
        case "encode":
            patches = given["images"].patches.shape[1]
            return Extent(patches, patches, shards)
        case "prefill":
            prompts = given["prompts"].tokens.shape[0] // shards
            return Extent(prompts, prompts, shards)
        case "admit":
            prompts = given["names"].shape[0] // shards
            return Extent(prompts, prompts, shards)
        case "decode":
            orders, columns = given["state"].tokens.shape
            return Extent(orders // shards, orders // shards * columns, shards)
    return None


def simulate(rehearsal: Rehearsal, recorded: Recorder) -> Simulation:
    """Simulates a step.

    Args:
        rehearsal: The run.
        recorded: What `Rehearsal.largest` gave of it.
    """
    config, step, workload = rehearsal.config, rehearsal.step, rehearsal.workload
    draws = step.draws
    shape = (draws.drawn, step.orders_of_group, config.rollout.num_rollouts)
    lengths = log_normal(step.mean, workload.response_variation, step.longest, shape)
    logger = _Logger(rehearsal, recorded)
    learner, state, runner = rehearsal.start(logger)
    groups = rehearsal.groups(draws.drawn)
    tokens = np.broadcast_to(np.int32(0), (*shape, step.longest))
    once = forward_operations(runner.config, groups, Responses(tokens, lengths))
    _draw(rehearsal.sampling(runner), groups, lengths)
    logger.leave_out_vain_chunks(runner)

    kept = lengths[: draws.kept]
    batch = make_batch(config, groups[: draws.kept], step, kept)
    learner.reinforce(state, batch)
    waits = waits_unfiltered = runner.stats["decode_waits"]
    unfiltered: Log = logger.log
    if draws.drawn > draws.wanted:
        unfiltered, waits_unfiltered = _without_filter(rehearsal, recorded, lengths[: draws.wanted])
    rollouts = int(np.prod(kept.shape))
    return Simulation(
        calls=logger.log,
        unfiltered=unfiltered,
        of_rollouts=once.forward(),
        of_update=learner.operations(batch),
        tokens=rollouts * step.prompt + int(kept.sum()),
        read=draws.kept * step.orders_of_group * step.prompt + int((kept - 1).sum()),
        waits=waits,
        waits_unfiltered=waits_unfiltered,
    )


def _without_filter(
    rehearsal: Rehearsal, recorded: Recorder, lengths: np.ndarray
) -> tuple[Log, int]:
    """The rollouts of groups that all inform, and how often their decoding waits for the host."""
    logger = _Logger(rehearsal, recorded)
    runner: ShapeRunner = rehearsal.start(logger)[2]
    _draw(rehearsal.sampling(runner), rehearsal.groups(len(lengths)), lengths)
    logger.leave_out_vain_chunks(runner)
    return logger.log, runner.stats["decode_waits"]


def _draw(sampling: Sampling, groups: Sequence[Any], lengths_BxKxN: np.ndarray) -> None:
    """Draws responses that end at these lengths, as far as the sampler sees it: at chunks."""
    sampling.add(groups)
    decoder = sampling.decoder
    while sampling.busy:
        sampling.launch()
        sampling.collect()
        for order in decoder.table.active:
            wanted = lengths_BxKxN[order.group, order.order]
            for response, length in zip(order.responses, wanted, strict=True):
                response.done |= len(response.tokens) >= length
