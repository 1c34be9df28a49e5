r"""The published run of PeRL (arXiv 2506.14907): Qwen2.5-VL-7B on multi-image questions, for a pod.

    perl-jax train --config=configs/qwen2_5_vl_7b_perl.py --workdir=/path/to/run \
        --config.data.train.parquet.paths="('/data/train-*.parquet',)" \
        --config.data.held_out.parquet.paths="('/data/held_out-*.parquet',)"

It evaluates on the held-out rows. Without such rows, give ``--config.data.held_out=None``.

Hardware: 32 chips of 95 GB (TPU v5p) or 16 GPUs of 80 GB as the mesh below has it. It has not been
run: neither run time nor score is known. The published scores of such a run are 76.4 on Mantis-Eval
and 58.5 on BLINK; the rows that it was trained on are not public.
"""

from ml_collections import ConfigDict

# Two epochs of 22,000 multi-image and 36,000 single-image rows, 128 a step.
STEPS = 2 * 58_000 // 128


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.model = {
        "path": "Qwen/Qwen2.5-VL-7B-Instruct",
        "dtype": "float32",
        "compute_dtype": "bfloat16",
        "max_pixels": 262144,
    }
    config.mesh = {"data": 1, "fsdp": 32, "tensor": 1}
    config.data = {
        "train": {"parquet": {"paths": ("data/train-*.parquet",)}},
        "held_out": {"parquet": {"paths": ("data/held_out-*.parquet",)}},
        "max_prompt_tokens": 8192,
        "pipeline": {"workers": 8},
    }
    config.steps = STEPS
    # GRPO with one pooled baseline an example, clip 0.2, mean over tokens, KL 0.01 in the loss.
    config.objective = {"preset": "perl"}
    config.rollout = {
        "groups": 128,
        "num_rollouts": 6,
        "max_new_tokens": 2048,
        "temperature": 1.0,
        "sampler": {"rows": 1536},
        # Decoding reads all weights at every step: a copy that nothing has to be gathered for.
        "mesh": {"data": 32, "fsdp": 1, "tensor": 1},
    }
    config.permutation = {"num_orders": 1, "schedule": {"kind": "linear"}}
    config.reward = {"weights": {"accuracy": 0.9, "format": 0.1}}
    # The published run filtered its rows beforehand, not its groups.
    config.filtering = {"enabled": True}
    # 1,536 rollouts in mini-batches of 64 prompts x 6 rollouts: four updates a batch.
    config.learner = {
        "updates_per_batch": 4,
        "remat": "inputs",
        "reference_dtype": "bfloat16",
        "packing": {"micro_groups": 16},
    }
    config.optimizer = {"learning_rate": 1e-6, "weight_decay": 0.01, "max_grad_norm": 1.0}
    # As many images at once as a step has; 3,072 responses, twice those of a step.
    config.evaluation = {
        "every": 50,
        "examples": 512,
        "num_orders": 5,
        "batch": 128,
        "max_new_tokens": 2048,
    }
    config.checkpoint = {"every": 50}
    return config
