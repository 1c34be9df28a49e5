r"""Low-rank adapters of Qwen3-VL-8B on 8 chips of TPU v6e (32 GB each), on one's own rows.

    perl-jax train --config=configs/qwen3_vl_8b_lora_v6e8.py --workdir=runs/8b_lora \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/8b_lora_v6e8.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_7b_lora_v6e8 import get_config as of_7b


def get_config() -> ConfigDict:
    config = of_7b()
    config.model.path = "Qwen/Qwen3-VL-8B-Instruct"
    return config
