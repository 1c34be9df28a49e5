"""PeRL in a few minutes on a laptop: four kinds of questions about several handwritten digits.

    perl-jax train --config=configs/demo.py --workdir=runs/demo

What `make demo` runs. The tiny policy reads digits well and can compare them, but half of the time
it names the first answer whatever is right; so do 80 % of the training rows. The same command with
``--config.permutation.num_orders=0`` is plain GRPO.
"""

from pathlib import Path

from ml_collections import ConfigDict

import perl_jax

POLICY = Path(perl_jax.__file__).parent / "assets" / "tiny_policy"
GROUPS = 16


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = {"path": str(POLICY), "compute_dtype": "float32"}
    config.mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    config.data = {
        "train": {"digits": {"rows": 20000, "seed": 1, "skew": 0.8}},
        "held_out": {"digits": {"split": "held_out", "rows": 128}},
        "max_prompt_tokens": 80,
    }
    config.steps = 20
    config.seed = 0
    config.objective = {"preset": "perl", "kl_coefficient": 0.0}
    config.rollout = {
        "groups": GROUPS,
        "num_rollouts": 6,
        "max_new_tokens": 48,
        "sampler": {
            "prompt_lengths": (80,),
            "response_lengths": (64,),
            "patches": (1024, 2048),
            "chunk": 16,
        },
    }
    config.permutation = {"num_orders": 1, "schedule": {"kind": "constant"}}
    config.learner = {
        "packing": {
            "micro_groups": GROUPS,
            "prompt_lengths": (80,),
            "response_lengths": (48,),
            "patches": (16 * GROUPS,),
            "images": (4 * GROUPS,),
            # Few groups inform towards the end. Each size is a program, which takes longer to
            # compile here than to run.
            "tokens": (112 * GROUPS, 224 * GROUPS, 448 * GROUPS, 768 * GROUPS),
            "predicted": (72 * GROUPS, 144 * GROUPS, 288 * GROUPS, 576 * GROUPS),
        }
    }
    config.optimizer = {"learning_rate": 2e-4, "warmup_updates": 2, "weight_decay": 0.0}
    config.filtering = {"max_draws": 2}
    config.reward = {"workers": 1}
    config.evaluation = {"every": 10, "examples": 128, "num_orders": 5, "max_new_tokens": 48}
    config.checkpoint = {"every": 10}
    return config
