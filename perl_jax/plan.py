"""Plans a run on chips that are not at hand, by compiling its programs for them.

    perl-jax plan --config=configs/qwen2_5_vl_7b_perl.py --topology=v5p:2x4x4
    perl-jax plan --config=configs/qwen2_5_vl_3b_gpu.py --topology=gpu:8 --chip=h100

Prints, for every ``--topology``, what a step draws and keeps at a ``--pass_rate``, the memory of a
chip by kind, seconds by roofline, what chips send each other, and whether it fits; if not, the
nearest setting that does. TPU slices need libtpu and
no TPU; ``--topology=gpu:8 --chip=h100`` compiles for eight virtual CPU devices and takes the
figures of the chip. Weights are not read. Exits with 1 where something does not fit.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

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
    args = parse(_parser(), given, required=("config", "topology"), renamed={"--json": "--out"})
    with one_line_errors(RuntimeError, debug=args.debug):
        config = open_config(TrainConfig, args.config, args.overrides)
        if args.print_config:
            print_config(config, "plan")
            return 0
        logging.basicConfig(format="%(message)s")
        logging.getLogger("perl_jax").setLevel(logging.INFO)
        return _plan(args, config, f"python -m perl_jax.plan {shlex.join(given)}")


def _plan(args: argparse.Namespace, config: TrainConfig, command: str) -> int:
    workload = Workload(
        args.images, args.pixels, args.text_tokens, args.response_tokens, args.pass_rate
    )
    shares = Assumptions(args.compute, args.memory, args.links, args.reserve)
    topologies = [parse_topology(name, args.chip) for name in args.topology]
    more, answers = (command, args.tries, args.programs), []
    for topology in topologies:
        plan = PlanConfig(config, topology, workload, shares, *more)
        answers.append(plan_in_a_process(plan))
        print(answers[-1]["text"])
        took, peak = answers[-1]["seconds"], answers[-1]["peak_host_bytes"] / GIB
        print(f"Planned in {took:.0f} s with at most {peak:.1f} GiB of host memory.\n")
    if args.out:
        write_whole(args.out, json.dumps(answers, indent=1) + "\n")
    return 0 if all(answer["plan"]["fits"] for answer in answers) else 1


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("plan", __doc__)
    add_config(parser)
    parser.add_argument(
        "--topology", action="append", metavar="CHIPS", help="such as v5e:4x4 or gpu:8; repeatable"
    )
    parser.add_argument("--chip", help="whose figures cpu:N and gpu:N use, such as h100")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the plans as JSON")
    parser.add_argument(
        "--tries", type=int, default=PlanConfig.tries, help="settings tried where one does not fit"
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
    rate = Workload.pass_rate
    text = f"share of the groups drawn that inform; default: {rate}"
    work.add_argument("--pass_rate", type=float, default=rate, help=text)
    shares = parser.add_argument_group("what is reached of a chip's figures")
    for name, text in (
        ("compute", "share of the peak"),
        ("memory", "share of the bandwidth of the memory"),
        ("links", "share of the bandwidth of the links"),
        ("reserve", "share of the memory that is left free"),
    ):
        default = getattr(Assumptions, name)
        words = f"{text}; default: {default}"
        shares.add_argument(f"--{name}", type=float, default=default, help=words)
    return parser


if __name__ == "__main__":
    sys.exit(main())
