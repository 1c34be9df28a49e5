"""The experiment of docs/experiments.md: PeRL on the demo's questions, whose rows have a bias.

    perl-jax train --config=digits_perl --workdir=runs/digits_perl

The policy and the four kinds of questions are the demo's. In 95 % of the training rows the right
answer stands first; the 512 held-out rows are balanced. A step keeps 16 informative groups of at
most 32 drawn. Its 12 rollouts to an example are 6 to each of two orders. About two minutes on a
laptop; expect an accuracy of about 0.87.

`digits_grpo`, `digits_permutation` and `digits_filtering` are the other arms, at equal rollouts;
`benchmarks/perl_vs_grpo.py` runs all of them.
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
        "train": {"digits": {"rows": 20000, "seed": 1, "skew": 0.95}},
        "held_out": {"digits": {"split": "held_out", "rows": 512}},
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
        }
    }
    config.optimizer = {"learning_rate": 2e-4, "warmup_updates": 2, "weight_decay": 0.0}
    # A bias of 100 % may leave nothing to learn; such a run goes on to its end.
    config.filtering = {"enabled": True, "max_draws": 2, "max_empty_steps": 20}
    config.reward = {"workers": 1}
    config.evaluation = {"every": 10, "examples": 512, "num_orders": 1, "max_new_tokens": 48}
    config.checkpoint = {"every": 20}
    config.export = False
    return config
