r"""The published run of PeRL with Qwen3-VL-32B on 32 chips of TPU v5p (95 GB each), a v5p-64.

    perl-jax train --config=configs/qwen3_vl_32b_v5p64.py --workdir=/path/to/run \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/32b_qwen3_v5p64.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_32b_v5p64 import get_config as of_first_family


def get_config() -> ConfigDict:
    config = of_first_family()
    config.model.path = "Qwen/Qwen3-VL-32B-Instruct"
    return config
