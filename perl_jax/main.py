"""The command line of a run: reads flags, and reports an error in one line."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from perl_jax.overrides import load_config, split_overrides
from perl_jax.settings import read_config

_ERRORS = (FloatingPointError, ImportError, OSError, TypeError, ValueError)


@contextmanager
def one_line_errors(*errors: type[Exception], debug: bool = False) -> Iterator[None]:
    """Ends the process with one line for ``errors``, wrong values and storage failures.

    With ``debug`` they are raised.
    """
    try:
        yield
    except _ERRORS + errors as error:
        if debug:
            raise
        sys.exit(f"error: {error}")


def run_main(
    description: str | None,
    kind: type[Any],
    run: Callable[[Any, str], Any],
    *,
    errors: tuple[type[Exception], ...] = (),
) -> None:
    """Parses the flags and runs; exits with 0, or reports an error in one line.

    On several hosts the same command starts on each of them, and they end together.

    Args:
        description: The text of ``--help``.
        kind: The dataclass of the configuration.
        run: Called with the configuration and the work directory.
        errors: Exceptions reported in one line, besides wrong values and storage failures.
    """
    # Imported here: they import jax, which the commands for data do not need.
    from perl_jax import hosts
    from perl_jax.mesh import find_devices

    overrides, command_line = split_overrides(sys.argv)
    config = flags.DEFINE_string("config", None, "Configuration file.")
    workdir = flags.DEFINE_string("workdir", None, "Directory of the run.")
    distributed = flags.DEFINE_enum(
        "distributed",
        "auto",
        ["auto", "on", "off"],
        "Whether to join other hosts; auto: where the environment says that there are others.",
    )
    coordinator = flags.DEFINE_string("coordinator", None, "address:port of host 0.")
    num_hosts = flags.DEFINE_integer("num_hosts", None, "With --coordinator: of how many.")
    host = flags.DEFINE_integer("host", None, "With --coordinator: the number of this one.")
    debug = flags.DEFINE_bool("debug", False, "Show where an error comes from.")
    flags.mark_flags_as_required(["config", "workdir"])
    sys.modules["__main__"].__doc__ = description or ""

    def main(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(arguments[1:])}")
        # Orbax logs every file.
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("perl_jax").setLevel(logging.INFO)
        with one_line_errors(*errors, debug=debug.value):
            settings = read_config(kind, load_config(str(config.value), overrides))
            hosts.connect(
                distributed.value,
                coordinator=coordinator.value,
                num_hosts=num_hosts.value,
                host=host.value,
            )
            find_devices()
            if not hosts.is_main():
                logging.getLogger("perl_jax").setLevel(logging.WARNING)
            with hosts.end_together():
                run(settings, str(workdir.value))

    app.run(main, argv=command_line)
