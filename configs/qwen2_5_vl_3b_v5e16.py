r"""Qwen2.5-VL-3B on 16 chips of TPU v5e (16 GB each), on one's own rows.

    perl-jax train --config=configs/qwen2_5_vl_3b_v5e16.py --workdir=runs/3b \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/3b_v5e16.txt. It has not been run: neither
run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_3b_gpu import get_config as on_one_gpu


def get_config() -> ConfigDict:
    config = on_one_gpu()
    config.mesh = {"data": 1, "fsdp": 16, "tensor": 1}
    # Decoding reads all weights at every step: a copy that nothing has to be gathered for.
    config.rollout.mesh = {"data": 8, "fsdp": 1, "tensor": 2}
    # One group a chip: all of its rollouts share one encoding of its images.
    config.learner.packing.micro_groups = 16
    return config
