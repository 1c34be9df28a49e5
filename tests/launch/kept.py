"""What the launchers' stories leave in a bucket: read on the laptop, and compared."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from tests.bucket import NAME
from tests.training.resuming import differences


class Bucket:
    """The bucket of the stories, as a client on the laptop sees it."""

    def __init__(self) -> None:
        self._files = fsspec.filesystem("gs", skip_instance_cache=True)

    def put(self, file: Path, name: str) -> None:
        self._files.put_file(str(file), f"{NAME}/{name}")

    def has(self, name: str) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(f"{NAME}/{name}"))

    def read(self, name: str) -> bytes:
        content: bytes = self._files.cat_file(f"{NAME}/{name}")
        return content

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
def bucket_of(variables: Mapping[str, str]) -> Iterator[Bucket]:
    """The bucket that is found in this environment, which this process has too meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield Bucket()


def assert_same_run(one: Path, other: Path, *, logs: bool = True) -> None:
    """Two finished runs: the same records, metrics, checkpoint and exported model, bit by bit.

    Without ``logs``, records and metrics are not compared: a host that is gone without notice may
    take those of its last seconds with it.
    """
    found = [name for name in differences(one, other) if logs or not name.startswith("step")]
    assert found == [], found
    models = [run / "export" / "model.safetensors" for run in (one, other)]
    assert models[0].read_bytes() == models[1].read_bytes()
