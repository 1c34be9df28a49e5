"""Trains a policy by reinforcement learning.

    python -m perl_jax.train --config=configs/demo.py --workdir=runs/demo

Any field of the configuration is overridden as ``--config.rollout.num_rollouts=8``. The same
command goes on where a run stopped. The work directory holds checkpoints, ``metrics.jsonl``,
``rollouts.jsonl``, TensorBoard files, and when the run ends ``summary.json``, ``curves.png`` and
the policy as a Hugging Face directory in ``export``; docs/logging.md describes them.
"""

from perl_jax.config import TrainConfig
from perl_jax.main import run_main
from perl_jax.runs import RUN_ERRORS, train

if __name__ == "__main__":
    run_main(__doc__, TrainConfig, train, errors=RUN_ERRORS)
