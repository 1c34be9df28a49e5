"""Compiles every program of a run for chips that are not at hand, and says what they take."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.flops import count_in_jaxpr
from perl_jax.mesh import make_mesh, rearranged
from perl_jax.models import Policy
from perl_jax.planning.chips import Topology
from perl_jax.planning.collectives import find_collectives
from perl_jax.planning.memory import Compiled, memory_by_kind
from perl_jax.planning.programs import PROGRAMS, Program
from perl_jax.planning.report import Plan, ProgramPlan
from perl_jax.planning.rollout import rollout_programs
from perl_jax.planning.roofline import Assumptions, seconds_of_call, traffic_of
from perl_jax.planning.shapes import bytes_on_chip, read_model_config, sharded_model
from perl_jax.planning.update import UpdatePrograms
from perl_jax.planning.workload import Step, Workload

_VIRTUAL = (
    "Compiled for virtual CPU devices: temporaries and collectives are those of the CPU compiler, "
    "which fuses less than a GPU's, takes attention in smaller blocks, and computes bfloat16 in "
    "float32 (a layer at a time), so that temporaries and links may have twice a GPU's bytes. "
    "Temporaries of apply, which it does not fuse at all, are taken to be one float32 copy of what "
    "is trained."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
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


def make_plan(request: Request, devices: Sequence[Any]) -> Plan:
    """Plans a run.

    Args:
        request: What is planned.
        devices: The topology's.

    Raises:
        ValueError: The configuration does not fit the chips.
    """
    config, topology = request.config, request.topology
    mesh_config, notes = mesh_for(config, topology.devices)
    mesh = make_mesh(mesh_config.data, mesh_config.fsdp, mesh_config.tensor, devices=devices)
    sizes = read_model_config(config.model.path)
    step = Step.of(config, sizes, request.workload)
    model = sharded_model(config.model, sizes, mesh)
    update = UpdatePrograms(config, model, mesh, step, request.workload)
    resident = update.resident()
    programs = [
        *_rollout(request, model, mesh, resident, step),
        *((program, resident, mesh_config) for program in update.listed()),
    ]
    compiled = [
        _compile(request, program, beside, lies_on, sizes)
        for program, beside, lies_on in programs
        if not request.programs or program.name in request.programs
    ]
    return Plan(
        command=request.command,
        model=_name(config.model.path),
        topology=topology,
        mesh={axis: getattr(mesh_config, axis) for axis in ("data", "fsdp", "tensor")},
        step=_in_words(config, step, request.workload, update, mesh),
        assumptions=request.assumptions.lines(),
        programs=compiled,
        usable=int(topology.chip.memory * (1 - request.assumptions.reserve)),
        notes=[*notes, _compiler(topology)],
    )


def _rollout(
    request: Request, model: Policy, mesh: Mesh, resident: Mapping[str, Any], step: Step
) -> Iterator[tuple[Program, Mapping[str, Any], MeshConfig]]:
    """The programs of rollouts, what stays beside them, and the mesh they lie on."""
    config = request.config
    wanted = config.rollout.mesh
    if wanted is None:
        # Rollouts take all parameters at once, the frozen ones among them.
        beside = {kind: tree for kind, tree in resident.items() if kind != "frozen"}
        on = MeshConfig(*mesh.devices.shape)
        for program in rollout_programs(config, model, mesh, step, request.workload):
            yield program, beside, on
        return
    on = _mesh_of_rollouts(wanted, mesh.devices.size)
    rollout_mesh = rearranged(mesh, *on.shape)
    parameters = nnx.split(model)[1]
    copy = RolloutCopy(model, mesh, rollout_mesh).program
    yield Program("reshard", 1, copy, (parameters,), {"parameters": parameters}), resident, on
    cast = replace(config.model, dtype=config.model.compute_dtype)
    copied = sharded_model(cast, model.config, rollout_mesh)
    for program in rollout_programs(
        config, copied, rollout_mesh, step, request.workload, kind="copy"
    ):
        yield program, resident, on


def _compiler(topology: Topology) -> str:
    if topology.virtual:
        return f"{_VIRTUAL} jax {version('jax')}."
    return f"Compiled by jax {version('jax')} with libtpu {version('libtpu')}."


def _mesh_of_rollouts(wanted: MeshConfig, devices: int) -> MeshConfig:
    """The one that was asked for; ``data`` takes the rest of the chips."""
    return replace(wanted, data=devices // (wanted.fsdp * wanted.tensor))


def _name(path: str) -> str:
    """A hub id as it is; the last part of a directory's path."""
    return Path(path).name if Path(path).is_dir() else path


def _compile(
    request: Request,
    program: Program,
    resident: Mapping[str, Any],
    mesh: MeshConfig,
    sizes: Any,
) -> ProgramPlan:
    logger.info("compiling %s for %s", program.name, request.topology.name)
    began = time.monotonic()
    traced = program.trace()
    flops = count_in_jaxpr(traced.jaxpr, steps=program.steps)
    needed, text = _memory_and_text(traced.lower, program)
    seconds = time.monotonic() - began
    if request.topology.virtual and program.name == "apply":
        needed = replace(needed, temporaries=bytes_on_chip(program.kinds["gradients"]))
    memory = memory_by_kind(program, needed, resident)
    collectives = find_collectives(text, mesh.devices, trips=program.steps) if text else []
    itemsize = jnp.dtype(request.config.model.compute_dtype).itemsize
    traffic = traffic_of(program, sizes, memory, tensor=mesh.tensor, itemsize=itemsize)
    return ProgramPlan(
        name=program.name,
        calls=program.calls,
        memory=memory,
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
        compile_seconds=seconds,
        refused=text is None,
    )


def _memory_and_text(lower: Callable[[], Any], program: Program) -> tuple[Compiled, str | None]:
    """What a program needs, and its text; None where the compiler finds no room for it."""
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        refusal = Compiled.of_refusal(str(error), program)
        if refusal is None:
            raise
        return refusal, None
    return Compiled.of(compiled.memory_analysis()), compiled.as_text()


def _in_words(
    config: TrainConfig, step: Step, workload: Workload, update: UpdatePrograms, mesh: Mesh
) -> list[str]:
    rollout, updates = config.rollout, config.learner.updates_per_batch
    lies_on = "on the same mesh"
    if rollout.mesh:
        on = _mesh_of_rollouts(rollout.mesh, mesh.devices.size)
        lies_on = f"on a mesh of their own, data={on.data} fsdp={on.fsdp} tensor={on.tensor}"
    return [
        f"A step: {rollout.groups} groups x {step.orders_of_group} orders x "
        f"{rollout.num_rollouts} rollouts; {workload.images} images of {step.grid[0]} x "
        f"{step.grid[1]} patches; prompts of {step.prompt} tokens; responses of {step.mean} tokens "
        f"on average, {step.longest} at most; every group informs.",
        f"Rollouts: {lies_on}, {rollout.sampler.rows} at once.",
        f"Updates: {updates} of {update.micro_batches} micro-batch(es), {update.at_once} group(s) "
        f"a shard in each, responses padded to the longest; remat {config.learner.remat}.",
    ]
