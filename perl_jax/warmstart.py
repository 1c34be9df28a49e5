"""Trains a policy on given responses: supervised fine-tuning.

    perl-jax warmstart --config=tiny_warmstart --workdir=runs/tiny

Starts from any model directory, or from a fresh small model; reads any source whose rows have a
``response``. The work directory is that of ``perl-jax train``.
"""

from collections.abc import Sequence

from perl_jax.config import WarmstartConfig
from perl_jax.main import run_main
from perl_jax.runs import RUN_ERRORS, warmstart
from perl_jax.training.start_flags import add_start_flags, start_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_main(
        __doc__,
        WarmstartConfig,
        lambda config, args: warmstart(config, args.workdir, start_of(args)),
        name="warmstart",
        errors=RUN_ERRORS,
        arguments=arguments,
        add_flags=add_start_flags,
    )


if __name__ == "__main__":
    main()
