r"""The published run of PeRL with Qwen2.5-VL-32B on 32 chips of TPU v5p (95 GB each), a v5p-64.

    perl-jax train --config=configs/qwen2_5_vl_32b_v5p64.py --workdir=/path/to/run \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/32b_v5p64.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_7b_perl import get_config as published


def get_config() -> ConfigDict:
    config = published()
    config.model.path = "Qwen/Qwen2.5-VL-32B-Instruct"
    config.mesh = {"data": 1, "fsdp": 8, "tensor": 4}
    # Decoding reads all weights at every step: a copy that nothing has to be gathered for.
    config.rollout.mesh = {"data": 8, "fsdp": 1, "tensor": 4}
    # One group a shard: all of its rollouts share one encoding of its images.
    config.learner.packing.micro_groups = 8
    return config
