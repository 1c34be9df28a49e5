"""Prepares rows for training: filters, rephrases, removes duplicates, checks orders and splits.

    perl-jax prepare --config=configs/prepare_mantis.py --workdir=runs/mantis

Each stage with a section in the configuration reads the output of the stage before it and writes
``<number>-<stage>/`` into the work directory: ``part-*.parquet``, ``counts.json`` and
``dropped.jsonl``. Run again, the command skips stages whose rows and configuration are unchanged;
``--stage=difficulty`` runs only that stage.
"""

import argparse
from collections.abc import Sequence

from perl_jax.main import run_main
from perl_jax.preparation.config import PrepareConfig
from perl_jax.preparation.run import STAGES, prepare
from perl_jax.rewards import GradingError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_main(
        __doc__,
        PrepareConfig,
        lambda config, args: prepare(config, args.workdir, stage=args.stage),
        name="prepare",
        errors=(GradingError,),
        arguments=arguments,
        add_flags=_add_stage,
    )


def _add_stage(parser: argparse.ArgumentParser) -> None:
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stage", choices=names, help="run this stage alone, even if it has run")
