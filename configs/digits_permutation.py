"""The experiment of docs/experiments.md: permutation without the filter; see digits_perl.py.

    perl-jax train --config=digits_permutation --workdir=runs/digits_permutation

A step draws 32 groups and keeps all of them, as many as digits_perl.py draws at most.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = runpy.run_path(str(Path(__file__).with_name("digits_perl.py")))["get_config"]()
    config.rollout.groups *= config.filtering.max_draws
    config.filtering.enabled = False
    return config
