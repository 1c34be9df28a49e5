"""A run whose checkpoints lie in a bucket: killed, resumed, and the same as one on the disk."""

import os

import fsspec
import pytest

from tests.bucket import NAME, running_bucket
from tests.training.resuming import Run, differences, environment

pytestmark = pytest.mark.story


def test_a_run_killed_with_its_checkpoints_in_a_bucket_ends_as_one_on_the_disk(tmp_path):
    variables = environment(tmp_path / "compiled")
    reference = Run(tmp_path / "reference", variables)
    reference.finish()
    with running_bucket() as bucket:
        place = f"--config.checkpoint.directory=gs://{NAME}/run/checkpoints"
        workdir = tmp_path / "run"
        told = tmp_path / "told"
        killed = Run(workdir, variables | bucket, place, told=told)
        killed.until(lambda: killed.has_reached(3, "rollout"))
        killed.kill()
        resumed = Run(workdir, variables | bucket, place, told=told)
        resumed.finish()
        # It went on from the bucket and did not begin again.
        assert int(told.read_text().split()[1]) > 1
        assert not (workdir / "checkpoints").exists()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in bucket.items():
                patch.setitem(os.environ, name, value)
            files = fsspec.filesystem("gs", skip_instance_cache=True)
            files.get(f"{NAME}/run/checkpoints", str(workdir / "checkpoints"), recursive=True)
    assert differences(reference.workdir, workdir) == []
