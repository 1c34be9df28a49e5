r"""Qwen3-VL-4B on 16 chips of TPU v5e (16 GB each), on one's own rows.

    perl-jax train --config=configs/qwen3_vl_4b_v5e16.py --workdir=runs/4b \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/4b_v5e16.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_3b_v5e16 import get_config as of_3b


def get_config() -> ConfigDict:
    config = of_3b()
    config.model.path = "Qwen/Qwen3-VL-4B-Instruct"
    # A token takes four times the cache of the 3B's: eight key/value heads instead of two. Smaller
    # parts of the weights leave room for it.
    config.rollout.mesh = {"data": 4, "fsdp": 1, "tensor": 4}
    return config
