"""The experiment of docs/experiments.md: plain GRPO; see digits_perl.py.

    perl-jax train --config=digits_grpo --workdir=runs/digits_grpo

A step draws 32 groups and keeps all of them, each of 12 rollouts to an example in its own order.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("digits_filtering.py")))["get_config"]()
    config.rollout.groups *= config.filtering.max_draws
    config.filtering.enabled = False
    return config
