"""A run whose checkpoints lie in a bucket: refused, killed, resumed, and as one on the disk."""

import os

import fsspec
import pytest

from tests.bucket import NAME
from tests.faulty_bucket import faulty_bucket
from tests.training.resuming import Run, differences, environment, first_step

# The story of a TPU that is preempted (launch/cloud/test_cloud_story.py) goes on from gs://, and
# test_checkpoint_in_bucket.py refuses saves.
pytestmark = pytest.mark.soak


def test_a_run_refused_by_its_bucket_and_later_killed_ends_as_one_on_the_disk(tmp_path):
    variables = environment(tmp_path / "compiled")
    reference = Run(tmp_path / "reference", variables)
    reference.finish()
    with faulty_bucket() as bucket:
        variables |= bucket.environment
        url = f"gs://{NAME}/run/checkpoints"
        place = f"--config.checkpoint.directory={url}"
        workdir = tmp_path / "run"
        told = tmp_path / "told"
        refused = Run(workdir, variables, place, told=told)
        refused.until(lambda: refused.has_reached(2, "rollout"))
        bucket.fault = lambda method, path: 403
        assert refused.process.wait(600) == 1
        # Whatever met it first: the save under way, or the lease before the next one.
        last = refused.output.read_text().splitlines()[-1]
        assert last.startswith("error: ")
        assert url in last
        assert "older steps are still there" in last
        bucket.fault = lambda method, path: None
        killed = Run(workdir, variables, place, told=told)
        killed.until(lambda: killed.has_reached(3, "rollout"))
        killed.kill()
        resumed = Run(workdir, variables, place, told=told)
        resumed.finish()
        # It went on from the bucket and did not begin again.
        assert first_step(told) > 1
        assert not (workdir / "checkpoints").exists()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in bucket.environment.items():
                patch.setitem(os.environ, name, value)
            files = fsspec.filesystem("gs", skip_instance_cache=True)
            files.get(f"{NAME}/run/checkpoints", str(workdir / "checkpoints"), recursive=True)
    assert differences(reference.workdir, workdir) == []
