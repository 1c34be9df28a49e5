"""Decodes orders as places become free: the host loop around the compiled programs."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from perl_jax.models.prompts import pad_prompts
from perl_jax.rollout import decode_state, programs
from perl_jax.rollout.decode_state import DecodeState
from perl_jax.rollout.programs import Drawing
from perl_jax.rollout.runner import Runner
from perl_jax.rollout.schedule import OrderRollouts, Reading, Table
from perl_jax.rollout.sizes import Sizes, power_of_two
from perl_jax.rollout.strategies import Strategy
from perl_jax.rollout.waves import Encoder, Wave

# Takes new tokens of a rollout: (order, rollout, tokens, log-probabilities).
Take = Callable[[OrderRollouts, int, np.ndarray, np.ndarray], None]
# An admitted order and its place.
Placed = tuple[OrderRollouts, int]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Tokens on their way from the devices.

    Attributes:
        running: Where each rollout stands in them: row, column, order, number in the order.
        tokens: int32 ``[rows, columns]`` or ``[rows, columns, C]``.
        logprobs: The same of float32.
        steps: How many of C were drawn; None: there is no such axis.
        done: Which rollouts the devices know to be done after them, bool ``[rows, columns]``.
    """

    running: list[tuple[int, int, OrderRollouts, int]]
    tokens: jax.Array
    logprobs: jax.Array
    steps: jax.Array | None = None
    done: jax.Array | None = None


class Decoder:
    """Orders wait in a queue, first in, first out, and run in one table of the devices' caches.

    While no order waits, there is a chunk behind the one that was launched, so that the devices
    work while the host takes tokens. It was dispatched without knowing what the one before it
    finished: what it draws for these responses is left out.

    Attributes:
        queue: The orders that wait. Those of one prompt stand together.
        table: The orders that run.
        state: What the devices hold of them; None while nothing runs.
    """

    def __init__(
        self,
        runner: Runner,
        encoder: Encoder,
        sizes: Sizes,
        strategy: Strategy,
        drawing: Drawing,
        take: Take,
    ) -> None:
        self._runner, self._encoder, self._sizes = runner, encoder, sizes
        self._strategy, self._drawing, self._take = strategy, drawing, take
        self.queue: deque[OrderRollouts] = deque()
        self.table = self._new_table(0)
        self.state: DecodeState | None = None
        # Tables are never made shorter than an earlier one, so that there are few.
        self._length = 0
        # What `collect` takes next, and the chunk behind it.
        self._in_flight: list[_Drawn] | None = None
        self._behind: _Drawn | None = None

    @property
    def busy(self) -> bool:
        """Whether orders wait or run."""
        return bool(self.queue or self.table.active or self._in_flight is not None)

    def launch(self) -> None:
        """Admits orders and dispatches what the devices do next, which is waited for nowhere.

        That is the next chunk, if there is none behind the last one, and one behind it.

        Raises:
            RuntimeError: The last chunk was not collected.
        """
        if self._in_flight is not None:
            raise RuntimeError("launch: expected a call of collect after the last one")
        self._release()
        if self._behind is not None and self.table.active:
            self._in_flight = [self._behind]
        else:
            self._in_flight = self._next()
        self._behind = None
        if self._in_flight and self._may_run_ahead():
            self._find_slots()
            self._behind = self._advance(self._in_flight[-1].done)
        if self.queue:
            # The host prepares them while the devices decode.
            self._encoder.encode(self.queue[0].reading.wave)

    def collect(self) -> None:
        """Waits for what was launched, and takes its tokens."""
        for drawn in self._in_flight or ():
            tokens, logprobs = np.asarray(drawn.tokens), np.asarray(drawn.logprobs)
            if drawn.steps is None:
                tokens, logprobs = tokens[..., None], logprobs[..., None]
            else:
                taken = int(drawn.steps)
                tokens, logprobs = tokens[..., :taken], logprobs[..., :taken]
                self._runner.stats["decode_steps"] += taken
                self._runner.stats["decode_rows"] += taken * tokens.shape[0] * tokens.shape[1]
            for row, column, order, n in drawn.running:
                # It may have ended at its first token, or nobody wants it any more.
                if not order.responses[n].done:
                    self._take(order, n, tokens[row, column], logprobs[row, column])
        self._in_flight = None
        self._release()

    def drop(self, groups: Collection[int]) -> None:
        """Ends the orders of these groups."""
        kept = deque(order for order in self.queue if order.group not in groups)
        for order in self.queue:
            if order.group in groups:
                order.reading.wave.read(1)
        self.queue = kept
        for order in self.table.active:
            if order.group in groups:
                for response in order.responses:
                    response.done = True
        if self._in_flight is None:
            self._release()

    def _release(self) -> None:
        self.table.release()
        if not self.queue and not self.table.active:
            self.table, self.state, self._behind = self._new_table(0), None, None

    def _next(self) -> list[_Drawn] | None:
        """Admits orders and dispatches a chunk for all that run; None if nothing does."""
        config, limit = self._sizes.config, self._sizes.max_new_tokens
        drawn = []
        if self.queue and (config.refill or not self.table.active):
            drawn = self._admit()
        if not self.table.active:
            return None
        self.make_room()
        self._runner.stats["decode_waits"] += 1
        # Responses of one token are complete.
        return drawn + ([self._advance()] if limit > 1 else [])

    def _may_run_ahead(self) -> bool:
        """Whether the next chunk needs nothing that the host learns from those on their way."""
        table, config = self.table, self._sizes.config
        if self.queue or not config.ahead or (config.refill and self._smaller() is not None):
            return False
        # A response of any order has tokens left after those chunks, and none that may be over by
        # then needs more slots than there are.
        unfinished = table.time - table.latest + 1 < self._sizes.max_new_tokens
        return unfinished and table.time - table.earliest + config.chunk <= self._sizes.most_slots

    def _new_table(self, places: int) -> Table:
        return Table(places, self._sizes.num_rollouts, self._sizes.shards)

    def _admit(self) -> list[_Drawn]:
        """Prefills waiting orders into free places and draws their first tokens."""
        self._find_places()
        orders, places = self.table.admit(self.queue, self._entering())
        if not orders:
            return []
        self._lengthen(max(order.reading.length for order in orders))
        asking: dict[Reading, list[Placed]] = {}
        for order, place in zip(orders, places, strict=True):
            asking.setdefault(order.reading, []).append((order, place))
        calls: dict[tuple[Wave, int], list[Reading]] = {}
        for reading in asking:
            calls.setdefault((reading.wave, reading.length), []).append(reading)
        drawn = []
        for (wave, length), readings in calls.items():
            self._encoder.encode(wave)
            most = self._sizes.most_prompts(length)
            for first in range(0, len(readings), most):
                part = readings[first : first + most]
                drawn += self._read(wave, part, [asking[reading] for reading in part])
            wave.read(sum(len(asking[reading]) for reading in readings))
        self._runner.stats["orders"] += len(orders)
        return drawn

    def _find_places(self) -> None:
        """Makes a table, or moves what runs to a larger one, if waiting orders need it."""
        running, (places, columns) = len(self.table.active), self.table.shape
        wanted = self._sizes.table(running + len(self.queue))
        num_rollouts = self._sizes.num_rollouts
        if running == 0:
            if (places, columns) != (wanted, num_rollouts):
                self._start(wanted)
        elif columns < num_rollouts or (places < wanted and self._entering() < len(self.queue)):
            wanted = max(
                wanted, places, self._sizes.places(self.table.busiest * self._sizes.shards)
            )
            self._move(wanted, num_rollouts)

    def _start(self, places: int) -> None:
        runner, sizes = self._runner, self._sizes
        self._length = max(self._length, *(order.reading.length for order in self.queue))
        shape = (places, sizes.num_rollouts, self._length, sizes.slots(sizes.config.chunk))
        # The old caches make room for the new ones.
        self.state = None
        self.table = self._new_table(places)
        self.state = runner.run(
            decode_state.empty_state,
            runner.config,
            runner.dtype,
            runner.mesh,
            shape,
            self._strategy.penalises,
        )

    def _entering(self) -> int:
        """How many of the waiting orders enter: all of a prompt together, if the table holds them.

        So a prompt is read once.
        """
        free, (places, _) = len(self.table.free), self.table.shape
        entering = 0
        waiting = list(self.queue)
        while entering < min(free, len(waiting)):
            reading = waiting[entering].reading
            together = 1
            for order in waiting[entering + 1 :]:
                if order.reading is not reading:
                    break
                together += 1
            if entering + together > free:
                return free if together > places and entering == 0 else entering
            entering += together
        return entering

    def _lengthen(self, length: int) -> None:
        """Makes room for prompts of a padded length."""
        assert self.state is not None
        if length > self._length:
            self._length = length
            prefix = self._runner.call(
                decode_state.lengthen, self._runner.mesh, length, self.state.prefix
            )
            self.state = self.state._replace(prefix=prefix)

    def _read(
        self, wave: Wave, readings: Sequence[Reading], asking: Sequence[Sequence[Placed]]
    ) -> list[_Drawn]:
        """Reads prompts, each once, and draws the first tokens of the orders that ask them."""
        runner, sizes, length = self._runner, self._sizes, readings[0].length
        padded = sizes.prompts(len(readings), length)
        prompts = pad_prompts(
            [reading.prompt for reading in readings],
            [reading.feature_rows for reading in readings],
            (padded, length),
        )
        model = (runner.definition, runner.mesh, runner.parameters)
        logits, prefix = runner.call(programs.prefill, *model, wave.features, prompts)
        drawn = []
        # One order of every prompt after the other: further sizes would be further programs.
        for turn in range(max(map(len, asking))):
            of_turn = [(row, *of[turn]) for row, of in enumerate(asking) if turn < len(of)]
            slots = np.full(padded, self.table.shape[0], np.int32)
            names = np.zeros((padded, sizes.num_rollouts, 3), np.uint32)
            for row, order, place in of_turn:
                slots[row], names[row] = place, order.names
            self.state, tokens, logprobs = runner.call(
                programs.admit,
                self._strategy.ranked,
                runner.mesh,
                self.state,
                logits,
                prefix,
                slots,
                names,
                prompts.tokens,
                self._drawing,
            )
            running = [
                (row, n, order, n) for row, order, _ in of_turn for n in range(sizes.num_rollouts)
            ]
            drawn.append(_Drawn(running, tokens, logprobs))
        runner.stats["prompt_tokens"] += sum(len(reading.prompt.tokens) for reading in readings)
        runner.stats["prompt_tokens_padded"] += padded * length
        return drawn

    def make_room(self) -> None:
        """Drops finished rollouts if that halves the batch; finds slots for the next chunk."""
        if self._sizes.config.refill and not self.queue:
            self.compact()
        self._find_slots()

    def _find_slots(self) -> None:
        """Moves the caches of responses if the next chunk has no slots, or a smaller one has."""
        assert self.state is not None
        table, chunk, slots = self.table, self._sizes.config.chunk, self.state.cache.keys.shape[1]
        needed = self._sizes.slots(table.time - table.earliest + chunk)
        if needed >= slots and table.time + chunk <= slots:
            return
        shift = np.int32(table.drop_slots())
        runner, cache = self._runner, self.state.cache
        if needed == slots:
            cache = runner.call(decode_state.drop_slots, runner.mesh, cache, shift)
        else:
            cache = runner.call(decode_state.resize, runner.mesh, needed, cache, shift)
        self.state = self.state._replace(cache=cache)

    def compact(self) -> None:
        """Drops finished rollouts if that halves the batch."""
        if (smaller := self._smaller()) is not None:
            self._move(*smaller)

    def _smaller(self) -> tuple[int, int] | None:
        """Places and columns of a batch of half the size or less that holds what runs, if any."""
        places, columns = self.table.shape
        if self._sizes.is_small(places, columns):
            return None
        fewer = self._sizes.places(self.table.busiest * self._sizes.shards)
        most = max(len(order.running) for order in self.table.active)
        narrower = min(power_of_two(most), columns)
        return (fewer, narrower) if 2 * fewer * narrower <= places * columns else None

    def _move(self, places: int, columns: int) -> None:
        kept = self.table.compact(places, columns)
        runner = self._runner
        self.state = runner.call(
            decode_state.compact, runner.mesh, self.state, kept.orders, kept.rollouts
        )

    def _advance(self, done: jax.Array | None = None) -> _Drawn:
        """Dispatches a chunk, behind one on its way that tells which responses are ``done``."""
        running, runner, time = self.table.responses(), self._runner, self.table.time
        rows = self.table.rows()
        # Of one sharding in either case: another would be another program.
        if done is None:
            done = runner.sharding.replicate(np.asarray(rows.done))
        rows = rows._replace(done=done)
        # Fewer steps are made only where nothing runs any more: the slots left are of no use.
        self.table.time += self._sizes.config.chunk
        self.state, tokens, logprobs, steps, done = runner.call(
            programs.decode,
            runner.definition,
            self._strategy.ranked,
            runner.mesh,
            self._sizes.config.chunk,
            runner.parameters,
            self.state,
            np.int32(time),
            rows,
            self._drawing,
        )
        return _Drawn(running, tokens, logprobs, steps, done)
