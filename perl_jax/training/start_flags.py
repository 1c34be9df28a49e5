"""The flags that say how a run starts."""

import argparse

from perl_jax.training.start import Start


def add_start_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `start_of` reads."""
    group = parser.add_argument_group("start (by default a run goes on where it stopped)")
    group.add_argument(
        "--allow_changes",
        metavar="FIELD,...",
        type=lambda text: tuple(name.strip() for name in text.split(",") if name.strip()),
        default=(),
        help="fields that may differ from those that the run was started with",
    )
    group.add_argument(
        "--init_from", metavar="WORKDIR[@STEP]", help="start from the parameters of another run"
    )
    group.add_argument(
        "--init_moments", action="store_true", help="with --init_from: the optimizer's moments too"
    )
    group.add_argument(
        "--init_adapter", metavar="DIR", help="start from adapters (learner.lora), as PEFT has them"
    )
    group.add_argument(
        "--restart", action="store_true", help="move the files of an earlier run aside"
    )


def start_of(args: argparse.Namespace) -> Start:
    """What the command line says about the start of a run."""
    return Start(
        args.allow_changes, args.init_from, args.init_moments, args.restart, args.init_adapter
    )
