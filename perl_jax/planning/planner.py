"""Compiles every program of a run for chips not at hand, and gives their memory and time."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
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
from perl_jax.planning.work import calls_of_step, num_micro_batches, work_of
from perl_jax.planning.workload import Step, Workload

# In the order in which a run calls them.
PROGRAMS = (
    "copy", "start", "reshard", "encode", "join_features", "empty_state", "prefill", "admit",
    "decode", "resize", "lengthen", "compact", "drop_slots", "score", "zeros", "reference",
    "update", "of_update", "apply", "of_batch", "adapt",
)  # fmt: skip
# Programs that run on the mesh of rollouts.
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
    """A run to plan.

    Attributes:
        config: The configuration of the run.
        topology: The chips.
        workload: The examples of a step.
        assumptions: The shares of their peak rates that the chips reach.
        command: The command that asks for the plan.
        tries: The maximum number of settings to compile in search of one that fits.
        programs: The names of the programs to compile; empty means all.
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

    def wants(self, name: str) -> bool:
        """Whether a program is planned."""
        return not self.programs or name in self.programs


def mesh_for(config: TrainConfig, devices: int) -> tuple[MeshConfig, list[str]]:
    """The mesh of a run on this number of chips, with a note if it was adapted.

    If the configured mesh has another number of chips, ``fsdp`` is set to use them all.

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
        request: The run.
        devices: The devices of the topology.

    Raises:
        ValueError: The configuration does not fit the chips.
    """
    topology, sizes = request.topology, read_config(request.config.model.path)
    mesh_config, notes = mesh_for(request.config, topology.devices)
    config = _with_meshes(request.config, mesh_config)
    alone = mesh_config.devices == 1
    mesh = None if alone else make_mesh(*mesh_config.shape, devices=devices)
    step = Step.of(config, sizes, request.workload)
    model = sharded_model(config.model, sizes, mesh, devices[0], config.learner.lora)
    recorder = rehearse(config, model, mesh, devices[0], step, request.workload)
    compiler = _Compiler(replace(request, config=config), recorder, mesh_config, sizes, step)
    programs = [compiler.plan(name) for name in recorder.calls if request.wants(name)]
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
        draws=step.draws,
        filtering=_filtering(config, step, programs),
    )


def _with_meshes(config: TrainConfig, mesh: MeshConfig) -> TrainConfig:
    """Sets the run's mesh; on a separate mesh for rollouts, ``data`` takes the remaining chips."""
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
    """The last part of a directory's path; a hub id is returned as it is."""
    return Path(path).name if Path(path).is_dir() else path


class _Compiler:
    """Compiles recorded calls, each one once."""

    def __init__(
        self,
        request: PlanConfig,
        recorder: Recorder,
        mesh: MeshConfig,
        sizes: PolicyConfig,
        step: Step,
    ) -> None:
        self.request, self.recorder, self.mesh = request, recorder, mesh
        self.sizes, self.step = sizes, step
        self._plans: dict[str, ProgramPlan] = {}
        # The layout of each program's results on the devices; None before the program is compiled,
        # or if the compiler refuses it.
        self._shardings: dict[str, Sequence[Any] | None] = {}

    def plan(self, name: str) -> ProgramPlan:
        """The plan of the program with this name."""
        if name not in self._plans:
            logger.info("compiling %s for %s", name, self.request.topology.name)
            self._shardings[name] = None
            self._plans[name] = self._plan(self.recorder.calls[name])
        return self._plans[name]

    def _plan(self, call: Call) -> ProgramPlan:
        topology, config = self.request.topology, self.request.config
        on = config.rollout.mesh if call.name in _OF_ROLLOUTS else None
        on = on or self.mesh
        shards = on.data * on.fsdp
        trained = any(within(path, VISION) for path in self.recorder.kept["parameters"])
        work = work_of(call, config, shards, vision_trained=trained)
        trips = max(1, work.steps) if work else 1

        arguments = jax.tree.map(self._settle, call.arguments)
        own = self._by_kind(call.arguments, arguments)
        began = time.monotonic()
        traced = call.function.trace(*arguments)
        needed, text = self._compile(call.name, traced.lower(), sum(own.values()))
        seconds = time.monotonic() - began

        # These may include results of the program's own earlier calls.
        beside = {
            kind: bytes_on_chip(jax.tree.map(self._settle, tree))
            for kind, tree in call.beside.items()
        }
        if topology.virtual and call.name == "apply":
            needed = replace(needed, temporaries=own["gradients"])
        traffic = float(needed.arguments + needed.results + needed.aliased)
        if work is not None:
            itemsize = jnp.dtype(config.model.compute_dtype).itemsize
            traffic = traffic_of(work, self.sizes, own, tensor=on.tensor, itemsize=itemsize)
        collectives = find_collectives(text, on.devices, trips=trips) if text else []
        flops = count_in_jaxpr(traced.jaxpr, steps=trips)
        return ProgramPlan(
            name=call.name,
            calls=calls_of_step(call, config, self.step, shards),
            calls_unfiltered=calls_of_step(call, config, self.step.without_filter(), shards),
            memory=memory_by_kind(own, beside, needed),
            flops=flops,
            traffic=traffic,
            collectives=collectives,
            seconds=seconds_of_call(
                topology,
                self.request.assumptions,
                flops=flops,
                traffic=traffic,
                collectives=collectives,
            ),
            compile_seconds=seconds,
            refused=text is None,
        )

    def _settle(self, leaf: Any) -> Any:
        """The shape of an array, with the sharding given by the program that made it."""
        maker = self.recorder.maker(leaf)
        if maker is None:
            return leaf
        name, number = maker
        if name not in self._shardings:
            self.plan(name)
        shardings = self._shardings[name]
        sharding = None if shardings is None else shardings[number]
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    def _by_kind(self, recorded: Any, settled: Any) -> dict[str, int]:
        """Bytes of arguments on one chip by kind, without arguments of no kind."""
        sizes: Counter[str] = Counter()
        leaves = (jax.tree.leaves(tree) for tree in (recorded, settled))
        for before, leaf in zip(*leaves, strict=True):
            if kind := self.recorder.kind(before):
                sizes[kind] += bytes_on_chip(leaf)
        return sizes

    def _compile(self, name: str, lowered: Any, arguments: int) -> tuple[Compiled, str | None]:
        """The program's needs, and its text; None if the compiler finds no room for it."""
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            refusal = Compiled.of_refusal(str(error), arguments)
            if refusal is None:
                raise
            return refusal, None
        self._shardings[name] = jax.tree.leaves(compiled.output_shardings)
        return Compiled.of(compiled.memory_analysis()), compiled.as_text()


def _in_words(config: TrainConfig, step: Step, workload: Workload, shards: int) -> list[str]:
    rollout, updates = config.rollout, config.learner.updates_of_step
    at_once, micro_batches = num_micro_batches(config, shards)
    lies_on, on = "on the same mesh", rollout.mesh
    if on:
        lies_on = f"on a mesh of their own, data={on.data} fsdp={on.fsdp} tensor={on.tensor}"
    return [
        f"A step: {rollout.groups} groups x {step.orders_of_group} orders x "
        f"{rollout.num_rollouts} rollouts; {workload.images} images of {step.grid[0]} x "
        f"{step.grid[1]} patches; prompts of {step.prompt} tokens; responses of {step.mean} tokens "
        f"on average, {step.longest} at most.",
        f"Rollouts: {lies_on}, {rollout.sampler.rows} at once.",
        f"Updates: {updates} of {micro_batches} micro-batch(es), {at_once} group(s) "
        f"a shard in each, responses padded to the longest; remat {config.learner.remat}.",
    ]


def _filtering(config: TrainConfig, step: Step, programs: Sequence[ProgramPlan]) -> list[str]:
    """What is drawn, what is kept, and the time that filtering costs."""
    lines = step.draws.lines(step.orders_of_group * config.rollout.num_rollouts * step.mean)
    of_rollouts = [one for one in programs if one.name in _OF_ROLLOUTS]
    if of_rollouts and step.draws.drawn > step.draws.wanted:
        drawn = sum(one.seconds_of_step for one in of_rollouts)
        unfiltered = sum(one.seconds_unfiltered for one in of_rollouts)
        which = "Rollouts" if len(of_rollouts) > 1 else of_rollouts[0].name
        lines.append(
            f"{which}: {drawn:.3g} s a step; {unfiltered:.3g} s if every group informed. Groups "
            "drawn ahead count whole."
        )
    return lines
