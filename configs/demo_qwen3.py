"""The demo with a tiny policy of another family, Qwen3-VL; all else is the demo's.

    perl-jax train --config=configs/demo_qwen3.py --workdir=runs/demo_qwen3

configs/tiny_qwen3_warmstart.py made the policy.
"""

from pathlib import Path

from ml_collections import ConfigDict

import perl_jax
from configs.demo import get_config as of_first_family

POLICY = Path(perl_jax.__file__).parent / "assets" / "tiny_qwen3_policy"


def get_config() -> ConfigDict:
    config = of_first_family()
    config.model.path = str(POLICY)
    return config
