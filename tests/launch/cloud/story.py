"""What the stories on the cloud train: the shipped 3B configuration, shrunk; and their bucket."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.digits import Digits, DigitsConfig
from tests.bucket import NAME
from tests.launch.kept import Bucket, bucket_of

STEPS = 3
SHRUNK = (
    # A small policy that is in the packed tree, on one device of each host.
    "--config.model.path=perl_jax/assets/tiny_policy",
    "--config.model.compute_dtype=float32",
    "--config.model.max_pixels=None",
    "--config.mesh.fsdp=2",
    "--config.rollout.mesh.data=2",
    "--config.rollout.mesh.tensor=1",
    # Few short answers, of few sizes.
    "--config.data.max_prompt_tokens=80",
    "--config.rollout.groups=4",
    "--config.rollout.num_rollouts=4",
    "--config.rollout.max_new_tokens=32",
    "--config.rollout.sampler.rows=16",
    "--config.rollout.sampler.chunk=16",
    "--config.rollout.sampler.prompt_lengths=(80,)",
    "--config.rollout.sampler.response_lengths=(32,)",
    "--config.rollout.sampler.patches=(1024,)",
    "--config.learner.packing.micro_groups=2",
    "--config.learner.packing.prompt_lengths=(80,)",
    "--config.learner.packing.response_lengths=(32,)",
    "--config.learner.packing.patches=(64,)",
    "--config.learner.packing.images=(8,)",
    "--config.filtering.max_draws=2",
    # Two orders of every group, and so one size of an update.
    "--config.permutation.schedule.kind=constant",
    "--config.learner.packing.orders=(2,)",
    # Steps that change the parameters.
    "--config.optimizer.learning_rate=1e-3",
    "--config.optimizer.warmup_updates=0",
    # A busy machine must not leave an answer unscored that it scores another time.
    "--config.reward.workers=1",
    "--config.reward.deadline=120",
    "--config.data.pipeline.workers=0",
    "--config.logging.tensorboard=False",
    "--config.checkpoint.every=1",
    f"--config.steps={STEPS}",
)
ROWS = (
    f"--config.data.train.parquet.paths=('gs://{NAME}/rows/*.parquet',)",
    "--config.data.held_out=None",
    "--config.permutation.rules.mine={'movable': 'all', 'answer': 'remap_letter'}",
)
PLACE = ("--zone=us-west4-a", "--type=v5litepod-16", f"--bucket=gs://{NAME}/runs", "--poll=0.2")


def pod(name: str, *flags: str, check: bool = False) -> tuple[str, ...]:
    """The flags of launch/tpu_pod.sh for a run, which is on fewer chips than its type has."""
    config = "--config=configs/qwen2_5_vl_3b_v5e16.py"
    unchecked = () if check else ("--no-check",)
    return (f"--name={name}", *PLACE, *unchecked, config, *SHRUNK, *ROWS, *flags)


@contextmanager
def bucket_with_rows(variables: Mapping[str, str], folder: Path) -> Iterator[Bucket]:
    """The bucket, with forty questions about handwritten digits in verl's layout."""
    with bucket_of(variables) as bucket:
        file = folder / "train-0.parquet"
        pq.write_table(pa.Table.from_pylist(_rows(40)), file)
        bucket.put(file, "rows/train-0.parquet")
        yield bucket


def _rows(count: int) -> list[dict]:
    digits = Digits(DigitsConfig(rows=count, seed=3, kinds=("property",)))
    return [
        {
            "data_source": "mine",
            "prompt": [{"role": "user", "content": example.question}],
            "images": [{"bytes": image, "path": None} for image in example.images],
            "reward_model": {"style": "rule", "ground_truth": example.answer},
            "extra_info": {"split": "train", "index": index},
        }
        for index, example in enumerate(map(digits.__getitem__, range(count)))
    ]
