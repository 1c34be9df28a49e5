"""Trains a policy on given responses: supervised fine-tuning.

    python -m perl_jax.warmstart --config=configs/tiny_warmstart.py --workdir=runs/tiny

Starts from any model directory, or from a fresh small model; reads any source whose rows have a
``response``. The work directory is that of `perl_jax.train`.
"""

from perl_jax.config import WarmstartConfig
from perl_jax.main import run_main
from perl_jax.runs import RUN_ERRORS, warmstart

if __name__ == "__main__":
    run_main(__doc__, WarmstartConfig, warmstart, errors=RUN_ERRORS)
