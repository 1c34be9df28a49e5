r"""The published run of PeRL with Qwen3-VL-8B on 64 chips of TPU v5e (16 GB each).

    perl-jax train --config=configs/qwen3_vl_8b_v5e64.py --workdir=runs/8b \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/8b_v5e64.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_7b_v5e64 import get_config as of_7b


def get_config() -> ConfigDict:
    config = of_7b()
    config.model.path = "Qwen/Qwen3-VL-8B-Instruct"
    # Two groups on four chips, as the plan was compiled: the 7B's mesh was not, for this policy.
    config.mesh = {"data": 1, "fsdp": 16, "tensor": 4}
    config.learner.packing.micro_groups = 16
    # A token takes 2.6 times the cache of the 7B's: half as many responses at once.
    config.rollout.sampler.rows = 768
    return config
