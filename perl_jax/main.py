"""What the command lines share: their flags, ``--help``, and errors in one line.

Exit codes are 0, 1 for an error, and 2 for a command line that is not understood.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from perl_jax.legible import legible
from perl_jax.overrides import open_config, split_overrides, written

_ERRORS = (FloatingPointError, ImportError, MemoryError, OSError, TypeError, ValueError)
_NONE: Mapping[str, str] = {}


@contextmanager
def one_line_errors(*errors: type[Exception], debug: bool = False) -> Iterator[None]:
    """Ends the process with one line for ``errors``, wrong values and storage failures.

    With ``debug`` they are raised.
    """
    # They log a traceback for every request that fails, which is tried again or told in that line;
    # asyncio even after it.
    for name in ("gcsfs", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.CRITICAL)
    try:
        yield
    except _ERRORS + errors as error:
        if debug:
            raise
        # Its text may be from the data.
        print(f"error: {legible(str(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        if debug:
            raise
        print("error: interrupted", file=sys.stderr)
        sys.exit(1)


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``perl-jax NAME``; its description is shown with its lines as they are."""
    parser = argparse.ArgumentParser(
        prog=f"perl-jax {name}",
        description=None if description is None else description.replace("``", "`"),
        formatter_class=partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=32, width=100
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a configuration, which `parse` reads."""
    parser.set_defaults(overrides={})
    group = parser.add_argument_group("configuration (fields: docs/configuration.md)")
    group.add_argument(
        "--config", metavar="FILE", help="a file with get_config(), or the name of a shipped one"
    )
    # Only shown: `parse` takes the flags of fields out before.
    group.add_argument(
        "--config.SECTION.FIELD", metavar="VALUE", help="sets a field; None closes a section"
    )
    group.add_argument(
        "--print_config", action="store_true", help="print all fields as a file, and end"
    )


def add_strategy(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `perl_jax.rollout.flags.strategy_of` reads."""
    group = parser.add_argument_group("sampling")
    most = "0, the default, takes the most probable token"
    group.add_argument("--temperature", type=float, default=0.0, help=most)
    group.add_argument("--top_k", type=int, help="draw from so many most probable tokens")
    top_p = "draw from the fewest tokens of this probability together"
    group.add_argument("--top_p", type=float, default=1.0, help=top_p)
    min_p = "leave out tokens less probable than this share of the most probable one"
    group.add_argument("--min_p", type=float, default=0.0, help=min_p)
    penalty = "above 1, tokens that were there become less probable"
    group.add_argument("--repetition_penalty", type=float, default=1.0, help=penalty)
    stop = "end a response at this text; repeatable"
    group.add_argument("--stop", action="append", default=[], metavar="TEXT", help=stop)


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    *,
    required: Sequence[str] = (),
    renamed: Mapping[str, str] = _NONE,
) -> argparse.Namespace:
    """Parses a command line; ends the process with 2, and the usage, if it is not understood.

    Args:
        parser: With `add_config`, the namespace gets ``overrides`` from `split_overrides`.
        arguments: None: those of the process.
        required: Flags that must be given, unless the configuration is only printed.
        renamed: Former spellings of flags, which stay valid.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    takes_config = parser.get_default("overrides") is not None
    overrides, given = split_overrides(given) if takes_config else ({}, given)
    args = parser.parse_args([_present(one, renamed) for one in given])
    args.overrides = overrides
    needed = ["config"] if takes_config and args.print_config else required
    if missing := [f"--{name}" for name in needed if getattr(args, name) in (None, [])]:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    return args


def print_config(config: Any, name: str) -> None:
    """Prints a configuration as a file that ``--config`` takes."""
    print(
        f'"""Every field of a configuration for perl-jax {name}."""\n\n\n{written(config)}', end=""
    )


def _present(argument: str, renamed: Mapping[str, str]) -> str:
    """An argument under the present name of its flag."""
    name, equals, value = argument.partition("=")
    return renamed.get(name, name) + equals + value


def run_main(
    description: str | None,
    kind: type[Any],
    run: Callable[[Any, argparse.Namespace], Any],
    *,
    name: str = "train",
    errors: tuple[type[Exception], ...] = (),
    arguments: Sequence[str] | None = None,
    add_flags: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    """Parses the command line and runs, or reports an error in one line.

    On several hosts the same command starts on each of them, and they end together.

    Args:
        description: The text of ``--help``.
        kind: The dataclass of the configuration.
        run: Called with the configuration and the parsed command line, of which ``workdir`` is the
            work directory.
        name: The command.
        errors: Exceptions reported in one line, besides wrong values and storage failures.
        arguments: None: those of the process.
        add_flags: Adds the flags that only this command has.
    """
    parser = command_parser(name, description)
    add_config(parser)
    parser.add_argument("--workdir", metavar="DIR", help="the directory of the run")
    add_flags(parser)
    _add_hosts(parser)
    args = parse(parser, arguments, required=("config", "workdir"))
    with one_line_errors(*errors, debug=args.debug):
        settings = open_config(kind, args.config, args.overrides)
        if args.print_config:
            print_config(settings, name)
            return
        # Imported here: they import jax, which the commands for data do not need.
        from perl_jax import hosts
        from perl_jax.mesh import find_devices

        _set_up_logging()
        hosts.connect(
            args.distributed,
            coordinator=args.coordinator,
            num_hosts=args.num_hosts,
            host=args.host,
        )
        find_devices()
        if not hosts.is_main():
            logging.getLogger("perl_jax").setLevel(logging.WARNING)
        with hosts.end_together():
            run(settings, args)


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several hosts")
    group.add_argument(
        "--distributed",
        choices=["auto", "on", "off"],
        default="auto",
        help="join other hosts; auto: where the environment says that there are others",
    )
    group.add_argument("--coordinator", metavar="ADDRESS:PORT", help="of host 0, if not found")
    group.add_argument("--num_hosts", type=int, metavar="N", help="with --coordinator: of how many")
    group.add_argument("--host", type=int, metavar="N", help="with --coordinator: which this is")


def _set_up_logging() -> None:
    from absl import logging as absl_logging

    absl_logging.use_absl_handler()
    # Orbax logs every file.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("perl_jax").setLevel(logging.INFO)
