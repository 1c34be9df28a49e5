"""What the stories on the cloud train: the shipped 3B configuration, shrunk; and their bucket."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data.sources.digits import Digits, DigitsConfig
from tests.bucket import NAME
from tests.training.resuming import differences

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


def pod(name: str, *flags: str) -> tuple[str, ...]:
    """The flags of launch/tpu_pod.sh for a run."""
    config = "--config=configs/qwen2_5_vl_3b_v5e16.py"
    return (f"--name={name}", *PLACE, "--no-check", config, *SHRUNK, *ROWS, *flags)


class Bucket:
    """The bucket of the stories, as a client on the laptop sees it."""

    def __init__(self) -> None:
        self._files = fsspec.filesystem("gs", skip_instance_cache=True)

    def put(self, file: Path, name: str) -> None:
        self._files.put_file(str(file), f"{NAME}/{name}")

    def has(self, name: str) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(f"{NAME}/{name}"))

    def names(self, folder: str) -> set[str]:
        """All files below a folder, by their names from there."""
        self._files.invalidate_cache()
        place = f"{NAME}/{folder}"
        if not self._files.exists(place):
            return set()
        return {name.removeprefix(f"{place}/") for name in self._files.find(place)}

    def fetch(self, run: str, to: Path) -> Path:
        """All that is kept of a run, as its work directory with the checkpoints in it."""
        to.mkdir(parents=True)
        for part, target in (("workdir", to), ("checkpoints", to / "checkpoints")):
            for name in self.names(f"runs/{run}/{part}"):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{NAME}/runs/{run}/{part}/{name}", str(target / name))
        return to


@contextmanager
def bucket_with_rows(variables: Mapping[str, str], folder: Path) -> Iterator[Bucket]:
    """The bucket, with forty questions about handwritten digits in verl's layout."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        bucket = Bucket()
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


def assert_same_run(one: Path, other: Path, *, logs: bool = True) -> None:
    """Two finished runs: the same records, metrics, checkpoint and exported model, bit by bit.

    Without ``logs``, records and metrics are not compared: a host that is gone without notice may
    take those of its last seconds with it.
    """
    found = [name for name in differences(one, other) if logs or not name.startswith("step")]
    assert found == [], found
    models = [run / "export" / "model.safetensors" for run in (one, other)]
    assert models[0].read_bytes() == models[1].read_bytes()
