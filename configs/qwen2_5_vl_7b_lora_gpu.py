r"""Low-rank adapters of Qwen2.5-VL-7B on one big GPU (80 GB or more), on one's own rows.

    perl-jax train --config=configs/qwen2_5_vl_7b_lora_gpu.py --workdir=runs/7b_lora \
        --config.data.train.parquet.paths="('/data/train.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/7b_lora_h100.txt. It has not been run:
neither run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_3b_gpu import get_config as of_3b


def get_config() -> ConfigDict:
    config = of_3b()
    config.model.path = "Qwen/Qwen2.5-VL-7B-Instruct"
    # The language model's maps; the vision tower stays as it is.
    config.learner.lora = {"rank": 32, "alpha": 64.0, "paths": (r"text\.layers\..*",)}
    # Adapters are commonly trained ten times as fast as the parameters under them.
    config.optimizer = {"learning_rate": 1e-5}
    return config
