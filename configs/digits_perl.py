"""The experiment of docs/experiments.md: PeRL on the demo's questions, whose rows have a bias.

    perl-jax train --config=digits_perl --workdir=runs/digits_perl

The policy and the four kinds of questions are the demo's. In 95 % of the training rows the right
answer stands first; the 512 held-out rows are balanced. A step keeps 16 informative groups of at
most 32 drawn. Its 12 rollouts to an example are 6 to each of two orders.

`digits_grpo`, `digits_permutation` and `digits_filtering` are the other arms, at equal rollouts;
`benchmarks/perl_vs_grpo.py` runs all of them.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("demo.py")))["get_config"]()
    config.data.train.digits.skew = 0.95
    config.data.held_out.digits.rows = 512
    config.evaluation.examples = 512
    config.evaluation.num_orders = 1
    # A bias of 100 % may leave nothing to learn; such a run goes on to its end.
    config.filtering.max_empty_steps = config.steps
    config.filtering.enabled = True
    config.checkpoint.every = config.steps
    config.export = False
    return config
