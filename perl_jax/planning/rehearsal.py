"""Rehearses a training step with the run's own learner and sampler, on shapes instead of arrays.

Their host loops run as usual, but the programs that they call are recorded instead of run. So a
plan has every program of the run in the shapes that the run uses, and knows what else is on the
devices at that time.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import jax
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, Sharding, SingleDeviceSharding

from perl_jax.config import TrainConfig
from perl_jax.mesh import BatchSharding, Tree, first_axes
from perl_jax.models import Policy
from perl_jax.models.cache import PromptCache
from perl_jax.parts import make_learner, make_rollout_copy
from perl_jax.planning.workload import EndlessProcessor, Step, Workload, make_batch, make_groups
from perl_jax.processing import Processor
from perl_jax.rollout import SamplerConfig, Sampling, decode_state
from perl_jax.rollout.decoding import Decoder
from perl_jax.rollout.runner import Runner
from perl_jax.rollout.sampling import SampleRequest
from perl_jax.rollout.schedule import OrderRollouts, Table
from perl_jax.rollout.stopping import Response
from perl_jax.types import Group
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

# In the order in which a run calls them.
PROGRAMS = (
    "copy", "start", "reshard", "encode", "join_features", "empty_state", "prefill", "admit",
    "decode", "resize", "lengthen", "compact", "drop_slots", "score", "zeros", "reference",
    "update", "of_update", "apply", "of_batch", "adapt",
)  # fmt: skip
# Programs that run on the mesh of rollouts.
OF_ROLLOUTS = frozenset(PROGRAMS[PROGRAMS.index("encode") : PROGRAMS.index("score")])


@dataclass
class Call:
    """A program, in the largest shapes in which a step calls it.

    Attributes:
        name: The name of the program.
        function: The jitted function.
        arguments: Its positional arguments, including static ones.
        size: Bytes of arguments and results on all devices together.
        count: The number of times a step calls the program, in any shapes.
        beside: What is kept on the devices while the program runs, by kind of memory: of the kinds
            of its arguments, as this call finds it; of others, the maximum over all calls.
    """

    name: str
    function: Any
    arguments: tuple[Any, ...]
    size: int
    count: int = 0
    beside: dict[str, Any] = field(default_factory=dict)


class Recorder:
    """Stands in for the devices: records the programs that are called.

    Attributes:
        calls: The calls by program name, in the order of the first calls.
        kept: What is on the devices at the moment, by kind of memory.
        results: What the largest call of each program gives, by name.
    """

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.kept: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        # Keyed by a shape's identity; the shape is held too, so that its identity stays unique.
        self._kinds: dict[int, tuple[Any, str]] = {}
        self._makers: dict[int, tuple[Any, tuple[str, int]]] = {}

    def mark(self, kind: str, tree: Any) -> None:
        """Assigns arrays to a kind of memory: ``parameters``, ``caches``, ..."""
        self._kinds |= {id(leaf): (leaf, kind) for leaf in jax.tree.leaves(tree)}

    def keep(self, kind: str, tree: Any) -> None:
        """Notes arrays that stay on the devices, replacing others of their kind."""
        self.mark(kind, tree)
        self.kept[kind] = tree

    def kind(self, leaf: Any) -> str | None:
        """The kind of memory of an array; None: no kind."""
        return self._kinds.get(id(leaf), (leaf, None))[1]

    def maker(self, leaf: Any) -> tuple[str, int] | None:
        """The program that made an array, and the index of the array among its results.

        None where the array's own sharding gives its layout on the devices.
        """
        return self._makers.get(id(leaf), (leaf, None))[1]

    def call(self, name: str, function: Any, *arguments: Any) -> Any:
        """Records a call and returns the shapes of its results."""
        arguments = jax.tree.map(self.shape, arguments)
        results = self.results_of(name, function, arguments)
        for number, leaf in enumerate(jax.tree.leaves(results)):
            if leaf.sharding is None:
                self._makers[id(leaf)] = (leaf, (name, number))
        call = Call(name, function, arguments, size_of((arguments, results)))
        known = self.calls.setdefault(name, call)
        if call.size > known.size:
            call.count, call.beside = known.count, known.beside
            known = self.calls[name] = call
        if known is call:
            self.results[name] = results
        known.count += 1
        given = {self.kind(leaf) for leaf in jax.tree.leaves(arguments)}
        for kind, tree in self.kept.items():
            # What a program is given and what it makes are those of one call.
            if kind not in given:
                known.beside[kind] = max(known.beside.get(kind, tree), tree, key=size_of)
            elif known is call:
                known.beside[kind] = tree
        return results

    def results_of(self, name: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        """The shapes of a program's results."""
        return jax.tree.map(_known, function.eval_shape(*arguments))

    def shape(self, leaf: Any) -> Any:
        """The shape of an argument that is an array; other arguments are returned unchanged.

        Host arrays are a batch. They get no sharding, as XLA chooses their layout.
        """
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
            return leaf
        shape = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        if leaf.ndim:
            self.mark("batch", shape)
        return shape


def size_of(tree: Any) -> int:
    """The bytes of arrays on all devices together."""
    shapes = (x for x in jax.tree.leaves(tree) if isinstance(x, jax.ShapeDtypeStruct))
    return sum(shape.size * shape.dtype.itemsize for shape in shapes)


def _known(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """A result, with a sharding only if the program fixes it."""
    sharding = leaf.sharding
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, AbstractMesh):
        sharding = None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


@dataclass(frozen=True)
class ShapeSharding(BatchSharding):
    """The sharding of a batch of which only the shapes are put on the devices.

    Attributes:
        device: The device of a run without a mesh.
        recorder: It is told about every batch.
    """

    device: Any = None
    recorder: Recorder = field(default_factory=Recorder)

    @classmethod
    def on(cls, mesh: Mesh | None, device: Any, recorder: Recorder) -> "ShapeSharding":
        """Like `BatchSharding.of`."""
        return cls(**vars(BatchSharding.of(mesh)), device=device, recorder=recorder)

    @property
    def replicated(self) -> Sharding:
        """The sharding of an array that every device holds whole."""
        return SingleDeviceSharding(self.device) if self.mesh is None else super().replicated

    def put(self, make: Callable[[int], Tree], axes: Callable[[Tree], Tree] = first_axes) -> Tree:
        """The shapes of what `BatchSharding.put` makes; all shards have the first one's shapes."""
        shapes = self.shapes(make(self.own_shards[0]), axes)
        self.recorder.mark("batch", shapes)
        return shapes

    def replicate(self, array: np.ndarray) -> Any:
        """The shape of the array, replicated on every device."""
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=self.replicated)

    def fetch(self, array: Any) -> np.ndarray:
        """Zeros of the array's shape."""
        return np.zeros(array.shape, array.dtype)


def recorded_program(
    recorder: Recorder, name: str, function: Callable[..., Any], **options: Any
) -> Callable[..., Any]:
    """Makes a program of a learner whose calls are recorded; see `perl_jax.update.programs.jit`.

    Plans call ``add`` "update", and ``score`` with the reference's parameters "reference".
    """
    jitted = jax.jit(function, **options)

    def call(*arguments: Any) -> Any:
        called = "update" if name == "add" else name
        if name == "score" and recorder.kind(jax.tree.leaves(arguments)[0]) == "reference":
            called = "reference"
        results = recorder.call(called, jitted, *arguments)
        if name in ("start", "apply"):
            state: TrainState = results if name == "start" else results[0]
            recorder.keep("parameters", state.params)
            recorder.keep("optimizer", state.optimizer)
            recorder.kept.pop("gradients", None)
        elif name in ("zeros", "add"):
            recorder.keep("gradients", results if name == "zeros" else results[0])
        elif name == "copy":
            recorder.keep("reference", results)
        elif name == "score":
            recorder.mark("batch", results)
        return results

    return call


class ShapeRunner(Runner):
    """Records the programs of the sampler; ``largest`` is the largest state that it made."""

    def __init__(self, recorder: Recorder, device: Any, model: Policy) -> None:
        super().__init__(model, Counter())
        self.recorder, self.sharding = recorder, ShapeSharding.on(self.mesh, device, recorder)
        self.largest: decode_state.DecodeState | None = None

    def run(self, program: Any, *arguments: Any) -> Any:
        """Records a call; what the host reads of the results are zeros."""
        name = program.__name__
        results = self.recorder.call(name, program, *arguments)
        if name in ("encode", "join_features"):
            self.recorder.keep("features", results)
        elif name == "prefill":
            self.recorder.mark("caches", results[1])
        elif name in ("empty_state", "compact"):
            results = self._keep(results)
        elif name in ("resize", "drop_slots"):
            results = self._keep(self.recorder.kept["caches"]._replace(cache=results)).cache
        elif name == "lengthen":
            results = self._keep(self.recorder.kept["caches"]._replace(prefix=results)).prefix
        else:
            # The host reads the rest: tokens, log-probabilities and the number of steps. What is
            # done it hands on.
            state, *read = results
            more = []
            if name == "decode":
                done = self.sharding.replicate(np.zeros(read[-1].shape, bool))
                more = [np.int32(arguments[3]), done]
            read = [np.zeros(leaf.shape, leaf.dtype) for leaf in read[:2]]
            results = (self._keep(state), *read, *more)
        return results

    def _keep(self, state: decode_state.DecodeState) -> decode_state.DecodeState:
        """Gives a state the shardings that all programs leave it in."""
        lie = jax.tree.map(lambda _: self.sharding.replicated, state)
        if self.mesh is not None:
            lie = decode_state.shardings(state, self.mesh)
        state = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state,
            lie,
        )
        self.recorder.keep("caches", state)
        self.largest = max(self.largest or state, state, key=size_of)
        return state


def draw(
    runner: ShapeRunner, sampling: Sampling, groups: Sequence[Group], config: SamplerConfig
) -> None:
    """Draws responses of the maximum length, and does all that the sampler may have to do."""
    sampling.add(groups)
    decoder, orders = sampling.decoder, list(sampling.decoder.queue)
    while sampling.busy:
        sampling.launch()
        sampling.collect()
    if config.refill:
        _shrink(runner, decoder, orders)
        _slide(runner, decoder, orders, config.chunk)
    _lengthen(runner, config.rungs("prompt_lengths"))
    # The images of groups that are added later are encoded beside the caches.
    for name in ("encode", "join_features"):
        runner.recorder.calls[name].beside["caches"] = runner.largest


def _shrink(runner: ShapeRunner, decoder: Decoder, orders: Sequence[OrderRollouts]) -> None:
    """Ends responses of a full batch one after the other until the sampler shrinks it."""
    state = _fill(runner, decoder, orders)
    table = decoder.table
    by_order = [response for order in table.active for response in order.responses]
    # With one order in each shard, the batch only gets narrower.
    alone = table.shape[0] == runner.sharding.num_shards
    columns = zip(*(order.responses for order in table.active), strict=True)
    for response in [one for column in columns for one in column] if alone else by_order:
        response.done = True
        table.release()
        if table.active:
            decoder.compact()
        if not table.active or decoder.state is not state:
            return


def _slide(
    runner: ShapeRunner, decoder: Decoder, orders: Sequence[OrderRollouts], chunk: int
) -> None:
    """Fills the caches when all orders started late, so that the sampler compacts them.

    Orders start late only where they wait for the places of others.
    """
    state = _fill(runner, decoder, orders, time=chunk)
    decoder.table.time = state.cache.keys.shape[1]
    if len(orders) > len(state.tokens):
        # While others wait, the batch does not shrink.
        decoder.queue.append(orders[0])
        decoder.make_room()
        decoder.queue.clear()


def _fill(
    runner: ShapeRunner, decoder: Decoder, orders: Sequence[OrderRollouts], time: int = 0
) -> decode_state.DecodeState:
    """The largest batch: every place holds an order, and all responses are running."""
    assert runner.largest is not None
    runner.recorder.keep("caches", runner.largest)
    places, num_rollouts = runner.largest.tokens.shape
    decoder.state = runner.largest
    decoder.table = Table(places, num_rollouts, runner.sharding.num_shards)
    decoder.table.time = time
    fresh = (replace(o, responses=[Response() for _ in o.responses]) for o in orders)
    decoder.table.admit(deque(fresh), places)
    return runner.largest


def _lengthen(runner: ShapeRunner, rungs: Sequence[int]) -> None:
    """Makes prompts of the next smaller padded length longer, if there is one."""
    assert runner.largest is not None
    prefix = runner.largest.prefix
    length = prefix.keys.shape[3]
    shorter = max((rung for rung in rungs if rung < length), default=None)
    if shorter is None:
        return

    def cut(leaf: Any, axis: int) -> Any:
        shape = (*leaf.shape[:axis], shorter, *leaf.shape[axis + 1 :])
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=leaf.sharding)

    old = PromptCache(cut(prefix.keys, 3), cut(prefix.values, 3), cut(prefix.valid, 1))
    runner.recorder.keep("caches", runner.largest._replace(prefix=old))
    runner.call(decode_state.lengthen, runner.mesh, length, old)


@dataclass(frozen=True)
class Rehearsal:
    """A run whose first step is rehearsed on shapes.

    Attributes:
        config: The run's configuration, with meshes that fit the number of devices.
        model: The policy, from `sharded_model`.
        mesh: The mesh of the update; None: a single device.
        device: The device of a run without a mesh.
        step: The numbers of the step.
        workload: The examples.
    """

    config: TrainConfig
    model: Policy
    mesh: Mesh | None
    device: Any
    step: Step
    workload: Workload

    def largest(self) -> Recorder:
        """All programs of a step, in the largest shapes: every response is the longest."""
        recorder, config = Recorder(), self.config
        learner, state, runner = self.start(recorder)
        groups = self.groups(config.rollout.groups)
        draw(runner, self.sampling(runner), groups, config.rollout.sampler)
        for kind in ("copy", "features", "caches"):
            recorder.kept.pop(kind, None)
        learner.reinforce(state, make_batch(config, groups, self.step))
        return recorder

    def start(self, recorder: Recorder) -> tuple[Learner, TrainState, ShapeRunner]:
        """The learner and the sampler of the run, and its first state."""
        config, model, mesh = self.config, self.model, self.mesh
        recorder.keep("parameters", nnx.state(model))
        sharding = ShapeSharding.on(mesh, self.device, recorder)
        banned = EndlessProcessor().banned_rows(model.config.vocab_size)
        compile = partial(recorded_program, recorder)
        learner = make_learner(config, model, banned, mesh, sharding=sharding, compile=compile)
        recorder.keep("frozen", learner.policy.frozen)
        recorder.keep("parameters", learner.policy.split(model))
        state = learner.init(model, jax.random.key(config.seed))
        policy = learner.model(state)
        copy = make_rollout_copy(config, model, mesh)
        if copy is not None:
            program = copy.program
            copy.program = lambda parameters: recorder.call("reshard", program, parameters)
            policy = copy(policy)
            recorder.keep("copy", nnx.state(policy))
        return learner, state, ShapeRunner(recorder, self.device, policy)

    def groups(self, count: int) -> tuple[Group, ...]:
        """So many groups."""
        return make_groups(count, self.step, self.workload, self.model.config)

    def sampling(self, runner: ShapeRunner) -> Sampling:
        """A sampler that draws nothing yet."""
        rollout = self.config.rollout
        request = SampleRequest(
            rollout.num_rollouts,
            rollout.max_new_tokens,
            rollout.strategy(),
            jax.random.key(self.config.seed),
        )
        processor = cast(Processor, EndlessProcessor())
        return Sampling(runner, processor, rollout.sampler, request)
