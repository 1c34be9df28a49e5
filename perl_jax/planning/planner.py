"""Compiles every program of a run for chips not at hand, and gives their memory and time."""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.flops import count_in_jaxpr, count_in_kernels
from perl_jax.kernels import Kernel
from perl_jax.legible import brief
from perl_jax.mesh import make_mesh, num_shards
from perl_jax.models import read_config
from perl_jax.models.attending import kernel_for
from perl_jax.models.paths import VISION, within
from perl_jax.planning.adapters import choose
from perl_jax.planning.collectives import find_collectives
from perl_jax.planning.cycles import estimated_cycles
from perl_jax.planning.facts import Facts
from perl_jax.planning.memory import Compiled, memory_by_kind
from perl_jax.planning.plan import Plan, ProgramPlan, Rates, expected_seconds
from perl_jax.planning.rehearsal import OF_ROLLOUTS, PROGRAMS, Call, Recorder, Rehearsal
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.shapes import bytes_on_chip, sharded_model
from perl_jax.planning.simulation import Simulation, simulate
from perl_jax.planning.timing import Timing
from perl_jax.planning.topology import Topology
from perl_jax.planning.work import work_of
from perl_jax.planning.workload import Step, Workload

_VIRTUAL = (
    "Compiled for virtual CPU devices: temporaries and collectives are those of the CPU compiler, "
    "which fuses less than a GPU's, {attention}, and computes bfloat16 in float32 (a layer at a "
    "time), so that temporaries and links may have twice a GPU's bytes. Temporaries of apply, "
    "which it does not fuse at all, are taken to be one float32 copy of what is trained."
)
_BY_XLA = "takes attention in smaller blocks"
_BY_KERNELS = "has attention kernels as calls with their inputs and results"

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
        optimise: Whether to look for the fastest setting that fits.
        facts: What compiling told before; these programs are not compiled.
        compiler: The note of the plan that they are from.
    """

    config: TrainConfig
    topology: Topology
    workload: Workload
    assumptions: Assumptions
    command: str = ""
    tries: int = 3
    programs: tuple[str, ...] = ()
    optimise: bool = False
    facts: tuple[Facts, ...] = ()
    compiler: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.programs) - set(PROGRAMS):
            raise ValueError(
                f"programs: expected some of {', '.join(PROGRAMS)}; got {brief(min(unknown))}"
            )

    def again(self, plan: Mapping[str, Any]) -> "PlanConfig":
        """The same from what compiling told for a plan, given as JSON values.

        Raises:
            ValueError: The plan is too old.
        """
        facts = tuple(Facts.of_json(program) for program in plan["programs"])
        return replace(self, facts=facts, compiler=plan["notes"][-1])

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
    topology, shares = request.topology, request.assumptions
    rehearsal, notes = rehearse(request, devices)
    config, step = rehearsal.config, rehearsal.step
    assert config.mesh is not None
    recorder = rehearsal.largest()
    simulation = simulate(rehearsal, recorder)
    programs = _programs(request, rehearsal, recorder, simulation)
    if request.compiler:
        notes += _changed(request.facts, recorder)
    usable = int(topology.chip.memory * (1 - shares.reserve))
    if config.learner.lora is not None and not request.programs:
        free = usable - max(one.total for one in programs if one.name in OF_ROLLOUTS)
        choice = choose(config, rehearsal.model, topology, shares, simulation.calls, free)
        notes.append(choice.line())
    return Plan(
        command=request.command,
        model=_name(config.model.path),
        topology=topology,
        mesh=vars(config.mesh),
        step=_in_words(config, step, request.workload, simulation),
        assumptions=shares.lines(),
        programs=programs,
        usable=usable,
        notes=[*notes, request.compiler or _compiler(config, topology)],
        draws=step.draws,
        filtering=_filtering(config, step, programs),
        rates=_rates(topology, programs, simulation, rehearsal),
    )


def _programs(
    request: PlanConfig, rehearsal: Rehearsal, recorder: Recorder, simulation: Simulation
) -> list[ProgramPlan]:
    """The plans of the programs, which are compiled unless that is known."""
    config = rehearsal.config
    compiler = _Compiler(replace(request, config=config), recorder, config.mesh or MeshConfig())
    known = {one.name: one for one in request.facts}
    sizes, step = rehearsal.model.config, rehearsal.step
    waits = simulation.waits, simulation.waits_unfiltered
    timing = Timing(config, request.topology, request.assumptions, sizes, step)
    return [
        timing.program(
            known.get(name) or compiler.facts(name),
            simulation.calls.get(name, ()),
            simulation.unfiltered.get(name, ()),
            waits if name == "decode" else (0, 0),
        )
        for name in recorder.calls
        if request.wants(name)
    ]


def _changed(known: Sequence[Facts], recorder: Recorder) -> list[str]:
    """A note on the programs that a run now calls in other shapes than those compiled."""
    sizes = {name: call.size for name, call in recorder.calls.items()}
    other = [facts.name for facts in known if sizes.get(facts.name) != facts.size]
    if not other:
        return []
    return [f"Compiled in other shapes than those that the run has now: {', '.join(other)}."]


def rehearse(request: PlanConfig, devices: Sequence[Any]) -> tuple[Rehearsal, list[str]]:
    """The run on its chips, and notes on how it was fitted to them."""
    sizes, workload = read_config(request.config.model.path), request.workload
    mesh_config, notes = mesh_for(request.config, request.topology.devices)
    config = _with_meshes(request.config, mesh_config)
    mesh = None if mesh_config.devices == 1 else make_mesh(*mesh_config.shape, devices=devices)
    step = Step.of(config, sizes, workload)
    config = step.fit_ladders(config, sizes, workload)
    kernel = _kernel(config, request.topology)
    model = sharded_model(config.model, sizes, mesh, devices[0], config.learner.lora, kernel=kernel)
    return Rehearsal(config, model, mesh, devices[0], step, workload), notes


def _rates(
    topology: Topology,
    programs: Sequence[ProgramPlan],
    simulation: Simulation,
    rehearsal: Rehearsal,
) -> Rates | None:
    if not {"decode", "update"} <= {one.name for one in programs}:
        return None
    seconds = sum(one.seconds_of_step for one in programs)
    learner = [one for one in programs if one.name not in OF_ROLLOUTS]
    of_update = sum(one.seconds_of_step for one in learner)
    expected = expected_seconds(learner)
    peak = topology.devices * topology.chip.peak
    computed = sum(call.work.tokens for call in simulation.calls["update"] if call.work)
    # Every epoch reads the batch once.
    read = simulation.read * rehearsal.config.learner.epochs_per_batch
    return Rates(
        mfu=(simulation.of_rollouts + simulation.of_update) / peak / seconds,
        mfu_of_update=simulation.of_update / peak / of_update,
        tokens=simulation.tokens / topology.devices / seconds,
        mfu_expected=simulation.of_update / peak / expected if expected else None,
        padding=computed * num_shards(rehearsal.mesh) / read,
    )


def _with_meshes(config: TrainConfig, mesh: MeshConfig) -> TrainConfig:
    """Sets the run's mesh; on a separate mesh for rollouts, ``data`` takes the remaining chips."""
    wanted = config.rollout.mesh
    if wanted is None:
        return replace(config, mesh=mesh)
    data = mesh.devices // (wanted.fsdp * wanted.tensor)
    rollout = replace(config.rollout, mesh=replace(wanted, data=data))
    return replace(config, mesh=mesh, rollout=rollout)


def _kernel(config: TrainConfig, topology: Topology) -> Kernel | None:
    """The attention kernel of the run on these chips. A CPU cannot compile those of a GPU."""
    kernel = kernel_for(config.model.attention, topology.platform)
    return kernel and replace(kernel, outline=topology.virtual)


def _compiler(config: TrainConfig, topology: Topology) -> str:
    if topology.virtual:
        attention = _BY_KERNELS if _kernel(config, topology) else _BY_XLA
        return f"{_VIRTUAL.format(attention=attention)} jax {version('jax')}."
    return f"Compiled by jax {version('jax')} with libtpu {version('libtpu')}."


def _name(path: str) -> str:
    """The last part of a directory's path; a hub id is returned as it is."""
    return Path(path).name if Path(path).is_dir() else path


class _Compiler:
    """Compiles recorded calls, each one once."""

    def __init__(self, request: PlanConfig, recorder: Recorder, mesh: MeshConfig) -> None:
        self.request, self.recorder, self.mesh = request, recorder, mesh
        self._facts: dict[str, Facts] = {}
        # The layout of each program's results on the devices; None before the program is compiled,
        # or if the compiler refuses it.
        self._shardings: dict[str, Sequence[Any] | None] = {}

    def facts(self, name: str) -> Facts:
        """What compiling the program with this name tells."""
        if name not in self._facts:
            logger.info("compiling %s for %s", name, self.request.topology.name)
            self._shardings[name] = None
            self._facts[name] = self._compiled(self.recorder.calls[name])
        return self._facts[name]

    def _compiled(self, call: Call) -> Facts:
        topology, config = self.request.topology, self.request.config
        on = config.rollout.mesh if call.name in OF_ROLLOUTS else None
        on = on or self.mesh
        trained = any(within(path, VISION) for path in self.recorder.kept["parameters"])
        work = work_of(call, config, on.data * on.fsdp, vision_trained=trained)
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
        return Facts(
            name=call.name,
            memory=memory_by_kind(own, beside, needed),
            flops=count_in_jaxpr(traced.jaxpr, steps=trips),
            size=call.size,
            moved=float(needed.arguments + needed.results + needed.aliased),
            work=work,
            collectives=find_collectives(text, on.devices, trips=trips) if text else [],
            compile_seconds=seconds,
            refused=text is None,
            kernels=count_in_kernels(traced.jaxpr, steps=trips),
            cycles=estimated_cycles(text, trips=trips) if text else None,
        )

    def _settle(self, leaf: Any) -> Any:
        """The shape of an array, with the sharding given by the program that made it."""
        maker = self.recorder.maker(leaf)
        if maker is None:
            return leaf
        name, number = maker
        if name not in self._shardings:
            self.facts(name)
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


def _in_words(
    config: TrainConfig, step: Step, workload: Workload, simulation: Simulation
) -> list[str]:
    rollout, updates = config.rollout, config.learner.updates_of_step
    lies_on, on = "on the same mesh", rollout.mesh
    if on:
        lies_on = f"on a mesh of their own, data={on.data} fsdp={on.fsdp} tensor={on.tensor}"
    micro_batches = len(simulation.calls["update"])
    return [
        f"A step: {rollout.groups} groups x {step.orders_of_group} orders x "
        f"{rollout.num_rollouts} rollouts; {workload.images} images of {step.grid[0]} x "
        f"{step.grid[1]} patches; prompts of {step.prompt} tokens; responses of {step.mean} tokens "
        f"on average, {step.longest} at most, log-normal with a coefficient of variation of "
        f"{workload.response_variation:g}.",
        f"Rollouts: {lies_on}, {rollout.sampler.rows} at once.",
        f"Updates: {updates}, of {micro_batches} micro-batch(es) together; remat "
        f"{config.learner.remat}.",
    ]


def _filtering(config: TrainConfig, step: Step, programs: Sequence[ProgramPlan]) -> list[str]:
    """What is drawn, what is kept, and the time that filtering costs."""
    lines = step.draws.lines(step.orders_of_group * config.rollout.num_rollouts * step.mean)
    of_rollouts = [one for one in programs if one.name in OF_ROLLOUTS]
    if of_rollouts and step.draws.drawn > step.draws.wanted:
        drawn = sum(one.seconds_of_step for one in of_rollouts)
        unfiltered = sum(one.seconds_unfiltered for one in of_rollouts)
        which = "Rollouts" if len(of_rollouts) > 1 else of_rollouts[0].name
        rest = sum(one.seconds_of_step for one in programs if one not in of_rollouts)
        whole = f", and the whole step {unfiltered + rest:.3g} s" if rest else ""
        lines.append(
            f"{which}: {drawn:.3g} s a step; {unfiltered:.3g} s if every group informed{whole}. "
            "Groups drawn ahead count whole."
        )
    return lines
