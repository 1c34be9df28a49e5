r"""Finds what would make a launch fail, on any machine, before chips are asked for.

    perl-jax check --config=demo
    perl-jax check --config=configs/qwen2_5_vl_3b_v5e16.py --type=v5litepod-16 \
        --config.data.train.parquet.paths="('gs://bucket/rows.parquet',)" \
        --config.checkpoint.directory=gs://bucket/run/checkpoints

Takes the configuration and the flags of `perl-jax train`, or of `warmstart`. Reads rows and the
model's tokenizer, but no weights; runs the checks of a run's start; and writes and removes a small
file beside the directory of checkpoints. With --type, the mesh must fit those chips, and the
programs are compiled for them, which takes minutes (see `perl-jax plan`); with --no_plan, only what
parameters and optimizer need is compared with the memory. All faults are named at once. Exits with
1 if the launch cannot work; a warning names what was not checked, or may be wrong.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from perl_jax.chips import GIB
from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig
from perl_jax.data.config import open_source
from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.sources.row_files import RowFiles
from perl_jax.data.sources.source import Source
from perl_jax.hub import is_hub_id, resolve_without_weights
from perl_jax.inspection.naming import open_run
from perl_jax.legible import legible
from perl_jax.main import add_config, command_parser, one_line_errors, parse, print_config
from perl_jax.mesh import MeshConfig
from perl_jax.models import read_config
from perl_jax.models.fresh import write_fresh_model
from perl_jax.parts import fit_ladders, open_rows
from perl_jax.planning.least import least_bytes
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import Topology, parse_type
from perl_jax.planning.worker import plan_in_a_process
from perl_jax.planning.workload import Workload
from perl_jax.readiness import Finding, findings, place_faults, refuse, unruled_sources
from perl_jax.rewards import GradingError, RewardConfig, make_grader
from perl_jax.storage import is_url
from perl_jax.training.checkpoint.files import absolute
from perl_jax.training.checkpoint.mirror import is_mirrored
from perl_jax.training.identity import check_names
from perl_jax.training.start_flags import add_start_flags, start_of

_ERRORS = (ImportError, OSError, RuntimeError, TypeError, ValueError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = command_parser("check", __doc__)
    add_config(parser)
    parser.add_argument(
        "--type", metavar="TYPE", help="the chips: v5litepod-16, v5p-32, v6e-32, h100-8, v5e:4x4"
    )
    parser.add_argument("--no_plan", action="store_true", help="compile nothing")
    # A launch hands on the flags of its run.
    add_start_flags(parser)
    args = parse(parser, arguments, required=("config",))
    with one_line_errors(GradingError, debug=args.debug):
        config = open_run(args.config, args.overrides)
        if args.print_config:
            print_config(config, "check")
            return 0
        logging.basicConfig(format="%(message)s")
        logging.getLogger("perl_jax").setLevel(logging.INFO)
        start = start_of(args)
        check_names(config, start.allowed)
        _ = start.other
        topology = None if args.type is None else parse_type(args.type)
        with ExitStack() as stack:
            check = _Check(args, topology, stack)
            check.launch(config)
        for one in check.found:
            if not one.ends:
                print(f"warning: {legible(str(one))}", file=sys.stderr)
        refuse(check.found, "launch")
    print("nothing was found that would make this launch fail")
    return 0


@dataclass
class _Check:
    """A check under way: what is asked for, and what was found so far."""

    args: argparse.Namespace
    topology: Topology | None
    stack: ExitStack
    found: list[Finding] = field(default_factory=list)

    def launch(self, config: RunConfig) -> None:
        """Checks everything; what was found to be right is printed."""
        self._place(config)
        if self.topology is not None:
            self.found += _mesh_faults(config, self.topology)
        known = self._with_model(config)
        self._rows(config, known)
        if self.topology is not None:
            self._memory(known or config, self.topology)

    def _place(self, config: RunConfig) -> None:
        directory = config.checkpoint.directory
        if directory is None:
            self._warn("checkpoint.directory", "in the work directory, which was not looked at")
        else:
            faults = list(place_faults(absolute(directory)))
            self.found += faults
            if is_mirrored(absolute(directory)) and self.topology and not self.topology.one_host:
                self.found.append(
                    Finding(
                        "checkpoint.directory",
                        f"expected gs://BUCKET/FOLDER or a directory that all hosts share, as "
                        f"s3:// is for one host; got {directory}",
                    )
                )
            if not faults:
                print(f"checkpoints: {directory} can be written")
        if self._is_elsewhere and not (directory and is_url(directory)):
            several = "" if self.topology and self.topology.one_host else ", and all of them see"
            self._warn(
                "checkpoint.directory",
                f"expected a bucket (gs://...), which outlives the hosts of {self.args.type}"
                f"{several}; got {directory}",
            )

    def _with_model(self, config: RunConfig) -> RunConfig | None:
        """The configuration with a directory that holds all but weights; None: it is not here."""
        path = config.model.path
        try:
            if isinstance(config, WarmstartConfig) and config.fresh is not None:
                directory = Path(self.stack.enter_context(TemporaryDirectory())) / "fresh_model"
                write_fresh_model(directory, config.fresh)
            else:
                directory = resolve_without_weights(path)
        except _ERRORS as error:
            # Another machine may have it, or may reach the hub.
            ends = not (is_hub_id(path) or Path(path).is_absolute())
            missing = isinstance(error, FileNotFoundError) and not ends
            more = "; prompts, images and answers were not checked" if missing else ""
            self.found.append(Finding("model.path", f"{error}{more}", ends=not missing))
            return None
        print(f"model: {path or 'a fresh one'}")
        model = replace(config.model, path=str(directory))
        if isinstance(config, WarmstartConfig):
            return replace(config, model=model, fresh=None)
        return replace(config, model=model)

    def _rows(self, config: RunConfig, known: RunConfig | None) -> None:
        """The rows, and the checks of a run that need them."""
        try:
            source = open_source(config.data.train)
            print(f"data.train: {len(source)} rows")
            self._local_files(source)
        except _ERRORS as error:
            self.found.append(Finding("data.train", str(error)))
            return
        try:
            if known is None:
                self.found += unruled_sources(config, source)
            else:
                self._start(known)
        except _ERRORS as error:
            self.found.append(Finding("data", str(error)))

    def _start(self, config: RunConfig) -> None:
        rows = open_rows(config)
        print(f"data.train: {len(rows.surveyed)} rows looked at can be used")
        reward = config.reward if isinstance(config, TrainConfig) else RewardConfig()
        with closing(make_grader(reward)) as grader:
            fitted = fit_ladders(config, rows)
            self.found += findings(fitted, rows, reward, grader, None)

    def _local_files(self, source: Source) -> None:
        local = [path for path in _files(source) if not is_url(path)]
        if local and self._is_elsewhere:
            self._warn(
                "data.train",
                f"expected files that the hosts of {self.args.type} have too: in a bucket, or in "
                f"the working tree and not ignored by git; got {local[0]} on this machine",
            )

    def _memory(self, config: RunConfig, topology: Topology) -> None:
        """What the plan says, or else the least that is needed."""
        usable = int(topology.chip.memory * (1 - Assumptions.reserve))
        try:
            least = least_bytes(config, read_config(config.model.path))
        except _ERRORS as error:
            self._warn("memory", f"not checked: {error}")
            return
        at_least = f"{least / GIB:.3g} of {usable / GIB:.3g} GiB of a chip"
        if least > usable:
            self.found.append(
                Finding(
                    "memory", f"expected a run that fits; parameters and optimizer take {at_least}"
                )
            )
        elif self.args.no_plan or any(one.ends for one in self.found):
            print(f"memory: parameters and optimizer take {at_least}; nothing was compiled")
        elif not isinstance(config, TrainConfig):
            self._warn("memory", f"only runs of train are planned; at least {at_least} are taken")
        else:
            self._plan(config, topology)

    def _plan(self, config: TrainConfig, topology: Topology) -> None:
        print("memory: compiling the programs, which takes minutes (--no_plan leaves it out)")
        sys.stdout.flush()
        try:
            plan = PlanConfig(config, topology, Workload(), Assumptions())
            answer = plan_in_a_process(plan)
        except _ERRORS as error:
            self._warn("memory", f"the programs were not compiled: {error}")
            return
        verdict = answer["text"].partition("Verdict: ")[2].partition("\n\n")[0]
        verdict = " ".join(verdict.split())
        if answer["plan"]["fits"]:
            print(f"memory: {verdict}")
        else:
            self.found.append(Finding("memory", verdict))

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the run's hosts are made for it, as TPUs are, and share no disk with this one."""
        return self.topology is not None and self.topology.chip.is_tpu

    def _warn(self, field: str, message: str) -> None:
        self.found.append(Finding(field, message, ends=False))


def _files(source: Source) -> Iterator[str]:
    """The files that rows are read from, as absolute paths or URLs."""
    if isinstance(source, Mixture):
        for part in source.parts:
            yield from _files(part.source)
    elif isinstance(source, RowFiles):
        yield from source.files


def _mesh_faults(config: RunConfig, topology: Topology) -> Iterator[Finding]:
    """Meshes for another number of chips."""
    mesh, rollouts = config.mesh or MeshConfig(), config.rollout.mesh
    if mesh.devices != topology.devices:
        # One process runs on its first device as well.
        alone = mesh.devices == 1 and topology.one_host
        yield Finding(
            "mesh",
            f"expected data x fsdp x tensor = {topology.devices}, as {topology.name} has so many "
            f"chips; got {' x '.join(map(str, mesh.shape))} = {mesh.devices}"
            + (": all others idle" if alone else ""),
            ends=not alone,
        )
    if rollouts is not None and rollouts.devices != mesh.devices:
        yield Finding(
            "rollout.mesh",
            f"expected {mesh.devices} chips, as mesh has; got "
            f"{' x '.join(map(str, rollouts.shape))} = {rollouts.devices}",
        )


if __name__ == "__main__":
    sys.exit(main())
