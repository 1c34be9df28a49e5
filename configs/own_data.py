"""A first run on own rows, on a laptop: the demo's tiny policy in the place of a real one.

    perl-jax train --config=configs/own_data.py --workdir=runs/mine \
        --config.data.train.parquet.paths="('mine/train.parquet',)" \
        --config.permutation.rules="{'mine': {'movable': 'all'}}"

It shows whether rows are read, permuted and rewarded as intended. Ten steps of four groups take a
minute or two on two cores. The tiny policy knows the words of the demo only; the README has rows
that it can read. For a model that reads everything, give the same flags with another configuration,
such as ``configs/qwen2_5_vl_3b_gpu.py``.
"""

from pathlib import Path

from ml_collections import ConfigDict

import perl_jax

POLICY = Path(perl_jax.__file__).parent / "assets" / "tiny_policy"


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = {"path": str(POLICY), "compute_dtype": "float32"}
    config.data = {"train": {"parquet": {"paths": ("mine/train.parquet",)}}}
    config.data.max_prompt_tokens = 256
    config.steps = 10
    config.objective = {"preset": "perl", "kl_coefficient": 0.0}
    config.rollout = {
        "groups": 4,
        "num_rollouts": 4,
        "max_new_tokens": 48,
        "sampler": {
            "prompt_lengths": (64, 256),
            "response_lengths": (64,),
            "patches": (256, 1024),
            "chunk": 16,
        },
    }
    config.permutation = {"num_orders": 1, "schedule": {"kind": "constant"}}
    config.learner = {
        "packing": {
            "micro_groups": 4,
            "prompt_lengths": (64, 256),
            "response_lengths": (48,),
            "patches": (64, 1024),
            "images": (8, 32),
        }
    }
    config.optimizer = {"learning_rate": 2e-4, "warmup_updates": 1, "weight_decay": 0.0}
    config.filtering = {"max_draws": 2}
    config.reward = {"workers": 1}
    config.evaluation = {"examples": 16, "num_orders": 2, "max_new_tokens": 48}
    return config
