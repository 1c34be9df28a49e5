r"""The published run of PeRL with Qwen2.5-VL-7B on eight GPUs of 80 GB.

    perl-jax train --config=configs/qwen2_5_vl_7b_8gpu.py --workdir=/path/to/run \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

What it needs and about how long a step takes: docs/plans/7b_h100.txt. It has not been run: neither
run time nor score is known.
"""

from ml_collections import ConfigDict

from configs.qwen2_5_vl_7b_perl import get_config as published


def get_config() -> ConfigDict:
    config = published()
    config.mesh = {"data": 1, "fsdp": 8, "tensor": 1}
    # Decoding reads all weights at every step: a copy that nothing has to be gathered for.
    config.rollout.mesh = {"data": 8, "fsdp": 1, "tensor": 1}
    # One group a GPU: all of its rollouts share one encoding of its images.
    config.learner.packing.micro_groups = 8
    return config
