r"""Prepares Mantis-Instruct as PeRL does: filtered, rephrased, of medium difficulty, order known.

    perl-jax build mantis_nlvr2 --data=downloads/Mantis-Instruct --out=data
    (and so on for the other subsets below)
    perl-jax prepare --config=configs/prepare_mantis.py --workdir=runs/mantis

The rephrasing asks an OpenAI-compatible endpoint, here one on this machine (``vllm serve
Qwen/Qwen2.5-32B-Instruct``); for one that wants a key, set
``config.endpoint.api_key_env="OPENAI_API_KEY"``. Without an endpoint, leave out ``rephrase`` and
``keep_open``: open-ended questions are dropped then. The difficulty filter needs an accelerator
that holds the policy; all other stages run on a CPU. ``--stage=difficulty`` with other bounds
filters again without asking the policy again.

Training reads ``runs/mantis/6-split/train/part-*.parquet`` and evaluates on ``held_out`` beside it.
"""

from ml_collections import ConfigDict

SUBSETS = ("nlvr2", "dreamsim", "iconqa", "imagecode", "contrastive_caption", "coinstruct")
PROMPT = (
    " You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    "answer MUST BE put in \\boxed{}."
)


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.source = {
        "mixture": tuple(
            {"source": {"tfds": {"directory": f"data/mantis_{subset}/1.0.0"}}, "name": subset}
            for subset in SUBSETS
        )
    }
    config.seed = 0
    config.endpoint = {
        "base_url": "http://localhost:8000/v1",
        "model": "Qwen/Qwen2.5-32B-Instruct",
        "concurrency": 32,
    }
    config.filter = {
        "sources": tuple(f"Mantis-Instruct-{subset}" for subset in SUBSETS),
        "images": (2, 8),
        "keep_open": True,
    }
    config.rephrase = {}
    config.deduplicate = {}
    config.difficulty = {
        "policy": {"path": "Qwen/Qwen2.5-VL-7B-Instruct", "max_pixels": 262144},
        "rollouts": {"num_rollouts": 10, "max_new_tokens": 2048, "prompt_suffix": PROMPT},
        "bounds": {"low": 0.1, "high": 0.9, "inclusive": True},
    }
    config.order = {"ask": True}
    config.split = {"held_out": 0.02}
    return config
