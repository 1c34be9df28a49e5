"""Trains a policy by reinforcement learning.

    perl-jax train --config=demo --workdir=runs/demo
    perl-jax train --config=demo --workdir=runs/other --config.rollout.num_rollouts=8

The work directory holds checkpoints, ``metrics.jsonl``, ``rollouts.jsonl``, TensorBoard files, and
when the run ends ``summary.json``, ``curves.png`` and the policy as a Hugging Face directory in
``export``; docs/logging.md describes them.

The same command goes on where a run stopped; with more ``--config.steps`` it extends a finished
run. Other settings need ``--allow_changes=FIELD,...`` if they change the results.
``--init_from=WORKDIR[@STEP]`` starts a new run from the parameters of another. ``--restart`` starts
again and moves the earlier files aside. See ``docs/runs.md``.
"""

from collections.abc import Sequence

from perl_jax.config import TrainConfig
from perl_jax.main import run_main
from perl_jax.runs import RUN_ERRORS, train
from perl_jax.training.start_flags import add_start_flags, start_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_main(
        __doc__,
        TrainConfig,
        lambda config, args: train(config, args.workdir, start_of(args)),
        name="train",
        errors=RUN_ERRORS,
        arguments=arguments,
        add_flags=add_start_flags,
    )


if __name__ == "__main__":
    main()
