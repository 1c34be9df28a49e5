"""Compiles every program of a run for chips that are not at hand, and says what they take."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.flops import count_in_jaxpr
from perl_jax.mesh import make_mesh, num_shards
from perl_jax.models import PolicyConfig, read_config
from perl_jax.models.paths import VISION, within
from perl_jax.planning.collectives import find_collectives
from perl_jax.planning.memory import Compiled, memory_by_kind
from perl_jax.planning.plan import Plan, ProgramPlan
from perl_jax.planning.rehearsal import Call, Recorder, rehearse
from perl_jax.planning.roofline import Assumptions, seconds_of_call, traffic_of
from perl_jax.planning.shapes import bytes_on_chip, sharded_model
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import Work, calls_of_step, num_micro_batches, work_of
from perl_jax.planning.workload import Step, Workload

# In the order of a run.
PROGRAMS = (
    "copy", "start", "reshard", "encode", "join_features", "empty_state", "prefill", "admit",
    "decode", "resize", "compact", "drop_slots", "score", "zeros", "reference", "update",
    "of_update", "apply", "of_batch",
)  # fmt: skip
# They run on the mesh of rollouts.
_OF_ROLLOUTS = PROGRAMS[PROGRAMS.index("encode") : PROGRAMS.index("score")]

_VIRTUAL = (
    "Compiled for virtual CPU devices: temporaries and collectives are those of the CPU compiler, "
    "which fuses less than a GPU's, takes attention in smaller blocks, and computes bfloat16 in "
    "float32 (a layer at a time), so that temporaries and links may have twice a GPU's bytes. "
    "Temporaries of apply, which it does not fuse at all, are taken to be one float32 copy of what "
    "is trained."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlanConfig:
    """What is planned.

    Attributes:
        config: Of the run.
        topology: The chips.
        workload: What a step works on.
        assumptions: What they reach.
        command: That asks for it.
        tries: Settings that are compiled in search of one that fits.
        programs: Those to compile, by name; none: all.
    """

    config: TrainConfig
    topology: Topology
    workload: Workload
    assumptions: Assumptions
    command: str = ""
    tries: int = 3
    programs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.programs) - set(PROGRAMS):
            raise ValueError(
                f"programs: expected some of {', '.join(PROGRAMS)}; got {min(unknown)!r}"
            )


def mesh_for(config: TrainConfig, devices: int) -> tuple[MeshConfig, list[str]]:
    """The mesh of a run on so many chips, and what was adapted.

    Where the configuration has another number of chips, ``fsdp`` takes the rest.

    Raises:
        ValueError: The other axes do not divide the number of chips.
    """
    asked = config.mesh or MeshConfig(fsdp=devices)
    if asked.devices == devices:
        return asked, []
    others = asked.data * asked.tensor
    if devices % others:
        raise ValueError(
            f"config.mesh: expected data x tensor to divide {devices} chips; got {asked.data} x "
            f"{asked.tensor}"
        )
    mesh = replace(asked, fsdp=devices // others)
    return mesh, [f"mesh.fsdp is {mesh.fsdp} here, as there are {devices} chips (not {asked.fsdp})"]


def make_plan(request: PlanConfig, devices: Sequence[Any]) -> Plan:
    """Plans a run.

    Args:
        request: What is planned.
        devices: The topology's.

    Raises:
        ValueError: The configuration does not fit the chips.
    """
    topology, sizes = request.topology, read_config(request.config.model.path)
    mesh_config, notes = mesh_for(request.config, topology.devices)
    config = _with_meshes(request.config, mesh_config)
    alone = mesh_config.devices == 1
    mesh = None if alone else make_mesh(*mesh_config.shape, devices=devices)
    step = Step.of(config, sizes, request.workload)
    model = sharded_model(config.model, sizes, mesh, devices[0])
    recorder = rehearse(config, model, mesh, devices[0], step, request.workload)
    compiler = _Compiler(recorder)
    trained = any(within(path, VISION) for path in recorder.kept["parameters"])
    programs = []
    for name, call in recorder.calls.items():
        if request.programs and name not in request.programs:
            continue
        logger.info("compiling %s for %s", name, topology.name)
        on = config.rollout.mesh if name in _OF_ROLLOUTS and config.rollout.mesh else mesh_config
        shards = on.data * on.fsdp
        work = work_of(call, config, shards, vision_trained=trained)
        calls = calls_of_step(call, config, step, shards)
        programs.append(_program(request, compiler(name), calls, work, on, sizes))
    return Plan(
        command=request.command,
        model=_name(config.model.path),
        topology=topology,
        mesh=vars(mesh_config),
        step=_in_words(config, step, request.workload, num_shards(mesh)),
        assumptions=request.assumptions.lines(),
        programs=programs,
        usable=int(topology.chip.memory * (1 - request.assumptions.reserve)),
        notes=[*notes, _compiler(topology)],
    )


def _with_meshes(config: TrainConfig, mesh: MeshConfig) -> TrainConfig:
    """The run on another mesh; of rollouts on a mesh of their own, ``data`` takes the rest."""
    wanted = config.rollout.mesh
    if wanted is None:
        return replace(config, mesh=mesh)
    data = mesh.devices // (wanted.fsdp * wanted.tensor)
    rollout = replace(config.rollout, mesh=replace(wanted, data=data))
    return replace(config, mesh=mesh, rollout=rollout)


def _compiler(topology: Topology) -> str:
    if topology.virtual:
        return f"{_VIRTUAL} jax {version('jax')}."
    return f"Compiled by jax {version('jax')} with libtpu {version('libtpu')}."


def _name(path: str) -> str:
    """A hub id as it is; the last part of a directory's path."""
    return Path(path).name if Path(path).is_dir() else path


@dataclass(frozen=True)
class _Program:
    """A compiled call; ``text`` and ``shardings`` are None where the compiler finds no room."""

    call: Call
    own: Mapping[str, int]
    beside: Mapping[str, int]
    jaxpr: Any
    needed: Compiled
    text: str | None
    shardings: Sequence[Any] | None
    seconds: float


class _Compiler:
    """Compiles recorded calls, each once."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._done: dict[str, _Program] = {}

    def __call__(self, name: str) -> _Program:
        if name not in self._done:
            self._done[name] = self._compile(self._recorder.calls[name])
        return self._done[name]

    def _settle(self, leaf: Any) -> Any:
        """An array's shape, with the sharding that the program which made it gives it."""
        maker = self._recorder.maker(leaf)
        shardings = None if maker is None else self(maker[0]).shardings
        if maker is None or shardings is None:
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=shardings[maker[1]])

    def _compile(self, call: Call) -> _Program:
        own: Counter[str] = Counter()
        arguments = jax.tree.map(self._settle, call.arguments)
        leaves = (jax.tree.leaves(tree) for tree in (call.arguments, arguments))
        for before, leaf in zip(*leaves, strict=True):
            if kind := self._recorder.kind(before):
                own[kind] += bytes_on_chip(leaf)
        beside = {
            kind: bytes_on_chip(jax.tree.map(self._settle, tree))
            for kind, tree in call.beside.items()
        }
        began = time.monotonic()
        traced = call.function.trace(*arguments)
        text, shardings = None, None
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            refusal = Compiled.of_refusal(str(error), sum(own.values()))
            if refusal is None:
                raise
            needed = refusal
        else:
            needed = Compiled.of(compiled.memory_analysis())
            text, shardings = compiled.as_text(), jax.tree.leaves(compiled.output_shardings)
        seconds = time.monotonic() - began
        return _Program(call, own, beside, traced.jaxpr, needed, text, shardings, seconds)


def _program(
    request: PlanConfig,
    program: _Program,
    calls: int,
    work: Work | None,
    mesh: MeshConfig,
    sizes: PolicyConfig,
) -> ProgramPlan:
    call, own, needed = program.call, program.own, program.needed
    if request.topology.virtual and call.name == "apply":
        needed = replace(needed, temporaries=own["gradients"])
    trips = max(1, work.steps) if work else 1
    collectives = find_collectives(program.text, mesh.devices, trips=trips) if program.text else []
    flops = count_in_jaxpr(program.jaxpr, steps=trips)
    if work is None:
        traffic = float(needed.arguments + needed.results + needed.aliased)
    else:
        itemsize = jnp.dtype(request.config.model.compute_dtype).itemsize
        traffic = traffic_of(work, sizes, own, tensor=mesh.tensor, itemsize=itemsize)
    return ProgramPlan(
        name=call.name,
        calls=calls,
        memory=memory_by_kind(own, program.beside, needed),
        flops=flops,
        traffic=traffic,
        collectives=collectives,
        seconds=seconds_of_call(
            request.topology,
            request.assumptions,
            flops=flops,
            traffic=traffic,
            collectives=collectives,
        ),
        compile_seconds=program.seconds,
        refused=program.text is None,
    )


def _in_words(config: TrainConfig, step: Step, workload: Workload, shards: int) -> list[str]:
    rollout, updates = config.rollout, config.learner.updates_per_batch
    at_once, micro_batches = num_micro_batches(config, shards)
    lies_on, on = "on the same mesh", rollout.mesh
    if on:
        lies_on = f"on a mesh of their own, data={on.data} fsdp={on.fsdp} tensor={on.tensor}"
    return [
        f"A step: {rollout.groups} groups x {step.orders_of_group} orders x "
        f"{rollout.num_rollouts} rollouts; {workload.images} images of {step.grid[0]} x "
        f"{step.grid[1]} patches; prompts of {step.prompt} tokens; responses of {step.mean} tokens "
        f"on average, {step.longest} at most; every group informs.",
        f"Rollouts: {lies_on}, {rollout.sampler.rows} at once.",
        f"Updates: {updates} of {micro_batches} micro-batch(es), {at_once} group(s) "
        f"a shard in each, responses padded to the longest; remat {config.learner.remat}.",
    ]
