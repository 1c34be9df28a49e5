"""One call of `Sampler.sample`: the host loop around the compiled programs."""

import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from perl_jax.activity import Activity, silent
from perl_jax.buckets import Ladder
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.models.policy import ImageInputs
from perl_jax.models.prompts import feature_rows, pad_prompts
from perl_jax.processing import Processor
from perl_jax.rollout import decode_state, programs
from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.decode_state import DecodeState
from perl_jax.rollout.features import EncodingPlan, plan_encoding
from perl_jax.rollout.programs import Drawing
from perl_jax.rollout.schedule import OrderRollouts, Table
from perl_jax.rollout.stopping import Ending, Response
from perl_jax.rollout.strategies import Strategy
from perl_jax.types import Group, ImagePatches

logger = logging.getLogger(__name__)

# A batch of less than this share of the rows costs about as much as a smaller one.
_SMALLEST_SHARE = 16

# Called with (group, order, rollout, new tokens).
OnTokens = Callable[[int, int, int, np.ndarray], None]


@dataclass(frozen=True)
class SampleRequest:
    """The arguments of `Sampler.sample` other than model and groups."""

    num_rollouts: int
    max_new_tokens: int
    strategy: Strategy
    key: jax.Array
    on_tokens: OnTokens | None
    most_orders: int | None = None
    activity: Activity = silent


class SamplerRun:
    """One call of `Sampler.sample`; ``stats`` counts what was done, as `Sampler.sample` says."""

    def __init__(
        self,
        model: Policy,
        processor: Processor,
        config: SamplerConfig,
        request: SampleRequest,
        calls: Counter[tuple[Any, ...]],
    ) -> None:
        self.model_config = model.config
        self.dtype = model.compute_dtype
        self.definition, self.parameters = nnx.split(model)
        self.mesh = _mesh_of(self.parameters)
        self.sharding = BatchSharding.of(self.mesh)
        self.config = config
        self.key = request.key
        self.strategy = request.strategy
        self.num_rollouts = request.num_rollouts
        self.on_tokens = request.on_tokens
        self.most_orders = request.most_orders
        self.activity = request.activity
        # Responses: finished, and asked for.
        self.finished = self.wanted = 0
        self.ending = Ending(
            processor.stop_tokens, self.strategy.stop, request.max_new_tokens, processor.decode
        )
        self.drawing = Drawing(
            self.strategy.parameters(),
            processor.banned_rows(model.config.vocab_size),
            np.array(processor.stop_tokens, np.int32),
            np.array(request.max_new_tokens, np.int32),
        )
        self.calls = calls
        self.stats: Counter[str] = Counter()

    def encode(self, groups: Sequence[Group]) -> list[OrderRollouts]:
        """Encodes every distinct image once; returns all orders, ready for prefill."""
        ladder = Ladder("patches", self.config.rungs("patches"))
        unit = self.model_config.patches_per_unit
        plan = plan_encoding(groups, ladder, unit, self.sharding)
        orders = self._orders(groups, plan)
        self.wanted = len(orders) * self.num_rollouts
        self._tell()
        tables = [self._encode(*call) for call in plan.calls]
        shape = (self.sharding.num_shards, plan.padded_rows, *self.model_config.feature_shape)
        self.features = self._run(programs.join_features, self.mesh, shape, self.dtype, tables)
        return orders

    def _encode(self, batches: Sequence[Sequence[ImagePatches]], patches: int) -> Any:
        """Encodes the images of one call, each shard on its devices."""
        grids = [[image.grid for image in batch] for batch in batches]
        sizes = self.model_config.image_sizes(grids, num_patches=patches)

        def make(shard: int) -> ImageInputs:
            return jax.tree.map(lambda part: part[None], sizes.pack(batches[shard]))

        self.stats["images"] += sum(map(len, batches))
        self.stats["patches"] += sum(image.num_patches for batch in batches for image in batch)
        self.stats["patches_padded"] += patches * len(batches)
        images = self.sharding.put(make)
        return self._call(programs.encode, self.definition, self.mesh, self.parameters, images)

    def decode(self, orders: Sequence[OrderRollouts], length: int) -> None:
        """Completes the responses of orders whose prompts are padded to ``length``."""
        queue = deque(orders)
        table, state = self._new_table(len(queue), length)
        while queue or table.active:
            if self.config.refill or not table.active:
                state = self._admit(state, table, queue, length)
            if table.active:
                state = self._make_room(state, table, waiting=bool(queue))
                state = self._advance(state, table)

    def _orders(self, groups: Sequence[Group], plan: EncodingPlan) -> list[OrderRollouts]:
        names = [(g, k) for g, group in enumerate(groups) for k in range(len(group.prompts))]
        ids = np.array([_stable_hash(groups[g].id) for g, _ in names], np.uint32)
        numbers = np.array([k for _, k in names], np.uint32)
        # Padded, so that few numbers of orders are compiled.
        padding = (0, _power_of_two(len(names)) - len(names))
        ids, numbers = np.pad(ids, padding), np.pad(numbers, padding)
        streams = np.asarray(_streams(self.key, ids, numbers, self.num_rollouts))[: len(names)]
        return [
            OrderRollouts(
                group=g,
                order=k,
                prompt=groups[g].prompts[k],
                feature_rows=feature_rows(
                    groups[g].prompts[k],
                    self.model_config,
                    [plan.rows_of(groups[g].images[slot]) for slot in groups[g].slots[k]],
                    f"group {groups[g].id!r}, order {k}",
                ),
                streams=stream,
                responses=[Response() for _ in range(self.num_rollouts)],
            )
            for (g, k), stream in zip(names, streams, strict=True)
        ]

    def _new_table(self, num_orders: int, length: int) -> tuple[Table, DecodeState]:
        at_once = max(1, self.config.rows // self.num_rollouts)
        largest = self._places(min(self.most_orders or num_orders, at_once))
        places = self._share(min(num_orders, at_once), largest)
        sizes = (places, self.num_rollouts, length, self._slots(self.config.chunk))
        kind = (self.model_config, self.dtype, self.mesh)
        state = self._run(decode_state.empty_state, *kind, sizes, self.strategy.penalises)
        return Table(places, self.num_rollouts, self.sharding.num_shards), state

    def _admit(
        self, state: DecodeState, table: Table, queue: deque[OrderRollouts], length: int
    ) -> DecodeState:
        """Prefills waiting orders into free places and draws their first tokens."""
        most = self.sharding.num_shards * max(1, self.config.prefill_tokens // length)
        while queue and table.free:
            orders, places = table.admit(queue, most)
            padded = min(self._share(len(orders), table.shape[0]), most)
            prompts = pad_prompts(
                [order.prompt for order in orders],
                [order.feature_rows for order in orders],
                (padded, length),
            )
            model = (self.definition, self.mesh, self.parameters)
            logits, prefix = self._call(programs.prefill, *model, self.features, prompts)
            slots = np.full(padded, table.shape[0], np.int32)
            slots[: len(orders)] = places
            streams = np.zeros((padded, self.num_rollouts, 2), np.uint32)
            streams[: len(orders)] = [order.streams for order in orders]
            state, tokens, logprobs = self._call(
                programs.admit,
                self.strategy.ranked,
                self.mesh,
                state,
                logits,
                prefix,
                slots,
                streams,
                prompts.tokens,
                self.drawing,
            )
            tokens, logprobs = np.asarray(tokens)[..., None], np.asarray(logprobs)[..., None]
            for row, order in enumerate(orders):
                for n in range(self.num_rollouts):
                    self._take(order, n, tokens[row, n], logprobs[row, n])
            table.release()
            self._tell()
            self.stats["orders"] += len(orders)
            self.stats["prompt_tokens"] += sum(len(order.prompt.tokens) for order in orders)
            self.stats["prompt_tokens_padded"] += padded * length
        return state

    def _make_room(self, state: DecodeState, table: Table, *, waiting: bool) -> DecodeState:
        """Drops finished rollouts if that halves the batch; finds slots for the next chunk."""
        if self.config.refill and not waiting:
            state = self._compact(state, table)
        slots = state.cache.keys.shape[1]
        needed = self._slots(table.time - table.earliest + self.config.chunk)
        if needed >= slots and table.time + self.config.chunk <= slots:
            return state
        shift = np.int32(table.drop_slots())
        if needed == slots:
            cache = self._call(decode_state.drop_slots, self.mesh, state.cache, shift)
        else:
            cache = self._call(decode_state.resize, self.mesh, needed, state.cache, shift)
        return state._replace(cache=cache)

    def _compact(self, state: DecodeState, table: Table) -> DecodeState:
        places, columns = table.shape
        if places * columns <= self.config.rows // _SMALLEST_SHARE:
            return state
        fewer = self._places(table.busiest * self.sharding.num_shards)
        most = max(len(order.running) for order in table.active)
        narrower = min(_power_of_two(most), columns)
        if 2 * fewer * narrower > places * columns:
            return state
        kept = table.compact(fewer, narrower)
        return self._call(decode_state.compact, self.mesh, state, kept.orders, kept.rollouts)

    def _advance(self, state: DecodeState, table: Table) -> DecodeState:
        running = table.responses()
        state, tokens, logprobs, steps = self._call(
            programs.decode,
            self.definition,
            self.strategy.ranked,
            self.mesh,
            self.config.chunk,
            self.parameters,
            state,
            np.int32(table.time),
            table.rows(),
            self.drawing,
        )
        taken = int(steps)
        tokens, logprobs = np.asarray(tokens)[..., :taken], np.asarray(logprobs)[..., :taken]
        for place, column, order, n in running:
            self._take(order, n, tokens[place, column], logprobs[place, column])
        table.time += taken
        table.release()
        self._tell()
        self.stats["decode_steps"] += taken
        self.stats["decode_rows"] += taken * tokens.shape[0] * tokens.shape[1]
        return state

    def _take(self, order: OrderRollouts, n: int, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        response = order.responses[n]
        before = len(response.tokens)
        taken = response.extend(tokens, logprobs, self.ending)
        if np.isnan(response.logprobs[before:]).any():
            place = before + int(np.flatnonzero(np.isnan(response.logprobs[before:]))[0])
            raise ValueError(
                f"the model's logits are NaN or infinite: group number {order.group}, order "
                f"{order.order}, rollout {n}, response token {place}; check the parameters"
            )
        self.finished += response.done
        self.stats["response_tokens"] += taken
        if self.on_tokens is not None and taken:
            self.on_tokens(order.group, order.order, n, tokens[:taken])

    def _tell(self) -> None:
        self.activity("drawing", self.finished, self.wanted)

    def _places(self, count: int) -> int:
        """Rounds up to places that divide over the shards, of few values: so few programs."""
        shards = self.sharding.num_shards
        return shards * _power_of_two(-(-count // shards))

    def _share(self, count: int, largest: int) -> int:
        """Places for so many orders: ``largest``, or a quarter of it, a sixteenth, ...

        Without a number of orders that calls share, padding is worth less than a program.
        """
        places = self._places(count)
        if self.most_orders is None:
            return places
        least = max(places, self.config.rows // _SMALLEST_SHARE // self.num_rollouts + 1)
        size = max(largest, places)
        while size // 4 >= least and size % (4 * self.sharding.num_shards) == 0:
            size //= 4
        return size

    def _slots(self, needed: int) -> int:
        """The smallest cache with at least so many slots."""
        return next(size for size in self.config.slots(self.ending.limit) if size >= needed)

    def _call(self, program: Any, *arguments: Any) -> Any:
        """Runs a program, and logs if its combination of shapes is new and so has to compile."""
        # The model never changes, and has the most arrays.
        others = [a for a in arguments if a is not self.parameters and a is not self.definition]
        shapes = jax.tree.map(_shape, others)
        leaves, structure = jax.tree.flatten(shapes)
        signature = (program.__name__, structure, tuple(leaves))
        if signature not in self.calls:
            logger.debug("compiling %s for %s", program.__name__, shapes)
            self.stats["compilations"] += 1
        self.calls[signature] += 1
        return self._run(program, *arguments)

    def _run(self, program: Any, *arguments: Any) -> Any:
        """Runs a compiled program; a rehearsal overrides this."""
        return program(*arguments)


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf


def _mesh_of(parameters: Any) -> Mesh | None:
    sharding = jax.tree.leaves(parameters)[0].sharding
    if not isinstance(sharding, NamedSharding):
        return None
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _stable_hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2s(id.encode(), digest_size=4).digest(), "little")


@partial(jax.jit, static_argnums=3)
def _streams(key: jax.Array, ids: jax.Array, orders: jax.Array, num_rollouts: int) -> jax.Array:
    """Key data of all rollouts, uint32 ``[O, N, 2]``, from group ids and order numbers ``[O]``."""

    def of_order(id: jax.Array, order: jax.Array) -> jax.Array:
        stream = jax.random.fold_in(jax.random.fold_in(key, id), order)
        return jax.vmap(partial(jax.random.fold_in, stream))(jnp.arange(num_rollouts))

    return jax.random.key_data(jax.vmap(of_order)(ids, orders))
