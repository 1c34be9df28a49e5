"""Prepares rows for training: filters, rephrases, removes duplicates, checks orders and splits.

    python -m perl_jax.data.prepare --config=configs/prepare_mantis.py --workdir=runs/mantis

Each stage with a section in the configuration reads the output of the stage before it and writes
``<number>-<stage>/`` into the work directory: ``part-*.parquet``, ``counts.json`` and
``dropped.jsonl``. Run again, the command skips stages whose rows and configuration are unchanged;
``--stage=difficulty`` runs only that stage. See `perl_jax.preparation`.
"""

from absl import flags

from perl_jax.main import run_main
from perl_jax.preparation.config import PrepareConfig
from perl_jax.preparation.run import STAGES, prepare
from perl_jax.rewards import GradingError


def command() -> None:
    """Runs the command line."""
    names = [stage.name for stage in STAGES]
    stage = flags.DEFINE_enum("stage", None, names, "Run this stage alone, even if it has run.")
    run_main(
        __doc__,
        PrepareConfig,
        lambda config, workdir: prepare(config, workdir, stage=stage.value),
        errors=(GradingError,),
    )
