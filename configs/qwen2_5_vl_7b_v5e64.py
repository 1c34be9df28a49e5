r"""The published run of PeRL with Qwen2.5-VL-7B on 64 chips of TPU v5e (16 GB each).

    perl-jax train --config=configs/qwen2_5_vl_7b_v5e64.py --workdir=runs/7b \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/7b_v5e64.txt. It has not been run: neither
run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_7b_perl import get_config as published


def get_config() -> ConfigDict:
    config = published()
    # An update has 32 groups: each of 32 shards has one, and none waits for another. More shards
    # would find nothing to do.
    config.mesh = {"data": 1, "fsdp": 32, "tensor": 2}
    # Decoding reads all weights at every step: a copy that nothing has to be gathered for. A tensor
    # axis of four has one each of four key/value heads.
    config.rollout.mesh = {"data": 16, "fsdp": 1, "tensor": 4}
    config.learner.packing.micro_groups = 32
    return config
