"""The tiny policy of the demo with Qwen3-VL: made as the first family's, and smaller.

    perl-jax warmstart --config=configs/tiny_qwen3_warmstart.py --workdir=runs/tiny_qwen3

On two cores that others use too it took 18 minutes. configs/tiny_warmstart.py says what the policy
learns. What this wrote lies in the package, as perl_jax/assets/tiny_qwen3_policy: 291,424
parameters in bfloat16, one feature of DeepStack. It answers 0.42 of the held-out examples rightly
and 0.20 of them alike under all orders; trained by configs/demo_qwen3.py it ends at 0.79 and 0.62.
"""

from ml_collections import ConfigDict

from configs.tiny_warmstart import get_config as of_first_family

TEXT = {
    "hidden_size": 64,
    "head_dim": 16,
    "intermediate_size": 112,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "depth": 2,
    "deepstack_visual_indexes": [0],
    "num_position_embeddings": 16,
}


def get_config() -> ConfigDict:
    config = of_first_family()
    config.fresh = {
        "family": "qwen3_vl",
        "text": TEXT,
        "vision": VISION,
        "mrope_section": (4, 2, 2),
        "words": config.fresh.words,
        "dtype": "bfloat16",
        # A digit becomes 2 x 2 patches: one token.
        "min_pixels": 32 * 32,
    }
    config.optimizer.learning_rate = 3e-3
    return config
