"""Plans a run on chips that are not at hand, by compiling its programs for them.

    perl-jax plan --config=configs/qwen2_5_vl_7b_perl.py --topology=v5p:2x4x4
    perl-jax plan --config=configs/qwen2_5_vl_3b_gpu.py --topology=gpu:8 --chip=h100

Prints, for every ``--topology``, what a step draws and keeps at a ``--pass_rate``, the memory of a
chip by kind, seconds by roofline, what chips send each other, and whether it fits; if not, the
nearest setting that does. ``--optimise`` looks for the fastest setting that fits. TPU slices need
libtpu and no TPU; ``--topology=gpu:8 --chip=h100`` compiles for eight virtual CPU devices and takes
the figures of the chip. Weights are not read. Exits with 1 where something does not fit.

``--again=docs/plans/7b_h100.json`` makes the plans of a file again, with other assumptions where
such flags are given. It compiles nothing: a file holds what compiling told.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from perl_jax.chips import GIB
from perl_jax.config import TrainConfig
from perl_jax.files import write_whole
from perl_jax.main import add_config, command_parser, one_line_errors, parse, print_config
from perl_jax.overrides import open_config
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.worker import plan_in_a_process
from perl_jax.planning.workload import Workload


def main(arguments: Sequence[str] | None = None) -> int:
    """Plans for every topology; returns 1 where something does not fit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    of_file = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    of_file.add_argument("--again", type=Path)
    known, given = of_file.parse_known_args(given)
    with one_line_errors(RuntimeError, debug="--debug" in given):
        plans = [] if known.again is None else _plans_of(known.again)
    given = [*_flags_of(plans), *given]
    args = parse(_parser(), given, required=("config", "topology"), renamed={"--json": "--out"})
    with one_line_errors(RuntimeError, debug=args.debug):
        config = open_config(TrainConfig, args.config, args.overrides)
        if args.print_config:
            print_config(config, "plan")
            return 0
        logging.basicConfig(format="%(message)s")
        logging.getLogger("perl_jax").setLevel(logging.INFO)
        return _plan(args, config, f"python -m perl_jax.plan {shlex.join(given)}", plans)


def _plans_of(file: Path) -> list[dict[str, Any]]:
    """The plans of a file that ``--out`` wrote."""
    try:
        return [answer["plan"] for answer in json.loads(file.read_text())]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{file}: expected plans that perl-jax plan --out wrote") from None


def _flags_of(plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """The flags of the command that made plans, but where they were written."""
    if not plans:
        return []
    _, _, _, *flags = shlex.split(plans[0]["command"])
    written = {n for n, flag in enumerate(flags) if flag.partition("=")[0] in ("--json", "--out")}
    written |= {n + 1 for n in written if "=" not in flags[n]}
    return [flag for n, flag in enumerate(flags) if n not in written]


def _plan(
    args: argparse.Namespace, config: TrainConfig, command: str, before: Sequence[Mapping[str, Any]]
) -> int:
    workload = Workload(**{one.name: getattr(args, one.name) for one in fields(Workload)})
    shares = Assumptions(**{one.name: getattr(args, one.name) for one in fields(Assumptions)})
    told = {plan["topology"]["name"]: plan for plan in before}
    answers = []
    for topology in [parse_topology(name, args.chip) for name in args.topology]:
        plan = PlanConfig(
            config, topology, workload, shares, command, args.tries, args.programs, args.optimise
        )
        if topology.name in told:
            plan = plan.again(told[topology.name])
        answers.append(plan_in_a_process(plan))
        print(answers[-1]["text"])
        took, peak = answers[-1]["seconds"], answers[-1]["peak_host_bytes"] / GIB
        print(f"Planned in {took:.0f} s with at most {peak:.1f} GiB of host memory.\n")
    if args.out:
        write_whole(args.out, json.dumps(answers, indent=1) + "\n")
        if args.out.suffix == ".json":
            write_whole(args.out.with_suffix(".txt"), "\n".join(one["text"] for one in answers))
    return 0 if all(answer["plan"]["fits"] for answer in answers) else 1


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("plan", __doc__)
    add_config(parser)
    parser.add_argument(
        "--topology", action="append", metavar="CHIPS", help="such as v5e:4x4 or gpu:8; repeatable"
    )
    parser.add_argument("--chip", help="whose figures cpu:N and gpu:N use, such as h100")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the plans as JSON; FILE.json gets their text in FILE.txt beside it",
    )
    parser.add_argument(
        "--tries", type=int, default=PlanConfig.tries, help="settings tried where one does not fit"
    )
    parser.add_argument(
        "--optimise", action="store_true", help="look for the fastest setting that fits"
    )
    parser.add_argument(
        "--again", metavar="FILE", help="make the plans of this file again, without compiling"
    )
    parser.add_argument(
        "--programs",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="NAME,...",
        help="the programs to plan; default: all",
    )
    work = parser.add_argument_group("the work")
    work.add_argument("--images", type=int, default=Workload.images, help="images of an example")
    work.add_argument("--pixels", type=int, default=Workload.pixels, help="pixels of an image")
    text = "text tokens of a prompt"
    work.add_argument("--text_tokens", type=int, default=Workload.text_tokens, help=text)
    work.add_argument("--response_tokens", type=int, help="mean tokens of a response")
    variation = Workload.response_variation
    text = f"their standard deviation, divided by the mean; default: {variation:g}"
    work.add_argument("--response_variation", type=float, default=variation, help=text)
    rate = Workload.pass_rate
    text = f"share of the groups drawn that inform; default: {rate}"
    work.add_argument("--pass_rate", type=float, default=rate, help=text)
    shares = parser.add_argument_group("what is reached of a chip's figures, and what kernels move")
    for name, text in (
        ("compute", "share of the peak"),
        ("kernels", "share of the peak that attention kernels reach"),
        ("memory", "share of the bandwidth of the memory"),
        ("links", "share of the bandwidth of the links"),
        ("reserve", "share of the memory that is left free"),
        ("scores", "share of the attention scores that are written to HBM; 0: kernels write none"),
        ("cache_moves", "how often a decoding step moves the caches of responses"),
        ("host", "seconds of the host before a chunk of decoding that is not dispatched ahead"),
    ):
        default = getattr(Assumptions, name)
        shown = "as compiled" if default is None else default
        words = f"{text}; default: {shown}"
        shares.add_argument(f"--{name}", type=float, default=default, help=words)
    return parser


if __name__ == "__main__":
    sys.exit(main())
