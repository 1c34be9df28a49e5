"""The run that is killed and resumed: the demo's, as small as it can be.

Every part of the state matters in it: rows come in several epochs, in permuted orders with
groups that are filtered out and replaced, a learning rate that changes, and a
penalty that compares with the policy at the start.
"""

from pathlib import Path

from ml_collections import ConfigDict

import perl_jax

POLICY = Path(perl_jax.__file__).parent / "assets" / "tiny_policy"
GROUPS = 2


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = {"path": str(POLICY), "compute_dtype": "float32"}
    config.data = {
        # Fewer than the steps draw: the run crosses the end of an epoch.
        "train": {"digits": {"rows": 7, "seed": 1, "skew": 0.8}},
        "held_out": {"digits": {"split": "held_out", "rows": 4}},
        "max_prompt_tokens": 80,
        "pipeline": {"workers": 0, "prefetch": 4},
    }
    config.steps = 4
    config.seed = 3
    config.objective = {"kl_coefficient": 0.01}
    config.rollout = {
        "groups": GROUPS,
        "num_rollouts": 4,
        "max_new_tokens": 32,
        "sampler": {
            "prompt_lengths": (80,),
            "response_lengths": (32,),
            "patches": (256,),
            # One order at a time: however many groups are drawn, the same few programs run.
            "rows": 4,
            "prefill_tokens": 80,
            "chunk": 16,
        },
    }
    config.permutation = {"num_orders": 1, "schedule": {"kind": "constant"}}
    config.learner = {
        "packing": {
            "micro_groups": 2,
            "prompt_lengths": (80,),
            "response_lengths": (32,),
            "patches": (32,),
            "images": (8,),
        }
    }
    config.optimizer = {"learning_rate": 1e-3, "warmup_updates": 2}
    config.filtering = {"max_draws": 2}
    # A busy machine must not leave an answer unscored that it scores another time.
    config.reward = {"workers": 1, "deadline": 120.0}
    config.evaluation = {"every": 4, "examples": 4, "num_orders": 1, "max_new_tokens": 32}
    config.checkpoint = {"every": 1}
    config.logging = {"tensorboard": False, "console": False}
    return config
