r"""Qwen2.5-VL-3B on one big GPU (80 GB or more), on one's own rows.

    perl-jax train --config=configs/qwen2_5_vl_3b_gpu.py --workdir=runs/3b \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/3b_h100.txt. It has not been run: neither
run time nor score is known.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = {
        "path": "Qwen/Qwen2.5-VL-3B-Instruct",
        "dtype": "float32",
        "compute_dtype": "bfloat16",
        "max_pixels": 262144,
    }
    config.mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    config.data = {
        "train": {"parquet": {"paths": ("data/train.parquet",)}},
        "held_out": {"parquet": {"paths": ("data/held_out.parquet",)}},
        "max_prompt_tokens": 4096,
        "pipeline": {"workers": 4},
    }
    config.steps = 200
    config.objective = {"preset": "perl", "kl_coefficient": 0.0}
    config.rollout = {
        "groups": 32,
        "num_rollouts": 6,
        "max_new_tokens": 1024,
        "sampler": {"rows": 384},
    }
    config.permutation = {"num_orders": 1, "schedule": {"kind": "linear"}}
    config.learner = {
        "remat": "layers",
        "frozen": (r"vision\..*",),
        "packing": {"micro_groups": 2},
    }
    config.optimizer = {"learning_rate": 1e-6, "state_dtype": "bfloat16"}
    # As many images at once as a step has; 768 responses, twice those of a step.
    config.evaluation = {
        "every": 25,
        "examples": 128,
        "num_orders": 5,
        "batch": 32,
        "max_new_tokens": 1024,
    }
    config.checkpoint = {"every": 25}
    return config
