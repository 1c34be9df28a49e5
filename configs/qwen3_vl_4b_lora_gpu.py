r"""Low-rank adapters of Qwen3-VL-4B on one big GPU (80 GB or more), on one's own rows.

    perl-jax train --config=configs/qwen3_vl_4b_lora_gpu.py --workdir=runs/4b_lora \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/4b_lora_h100.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen3_vl_8b_lora_gpu import get_config as of_8b


def get_config() -> ConfigDict:
    config = of_8b()
    config.model.path = "Qwen/Qwen3-VL-4B-Instruct"
    return config
