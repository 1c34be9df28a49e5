"""The experiment of docs/experiments.md: the filter without permutation; see digits_perl.py.

    perl-jax train --config=digits_filtering --workdir=runs/digits_filtering

The 12 rollouts to an example are all of its own order.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("digits_perl.py")))["get_config"]()
    config.rollout.num_rollouts *= 1 + config.permutation.num_orders
    config.permutation.num_orders = 0
    return config
