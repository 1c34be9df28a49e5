"""One of two processes that save and restore together: ``PORT INDEX DIRECTORY SCENARIO``.

In the scenario ``whole`` they do all of it; in ``stuck`` host 1 never ends to read.
"""

import os
import shutil
import signal
import sys
import time
from functools import partialmethod

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

PORT, INDEX, DIRECTORY, SCENARIO = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{PORT}", 2, INDEX, shutdown_timeout_seconds=30)
    from perl_jax import hosts
    from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints, FingerprintError
    from perl_jax.training.checkpoint.files import StepFiles
    from perl_jax.training.workdir import Preemption

    assert jax.process_count() == 2
    assert jax.device_count() == 4
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def place(*spec):
        return NamedSharding(mesh, PartitionSpec(*spec))

    def spread(array, *spec):
        return jax.make_array_from_callback(array.shape, place(*spec), lambda at: array[at])

    def arrays(step):
        whole = np.random.default_rng(step).normal(size=(8, 400)).astype(np.float32)
        key = jax.jit(lambda: jax.random.key(step), out_shardings=place())()
        empty = np.zeros((0, 4), np.float32)
        return {"w": spread(whole, "data"), "all": spread(whole), "key": key, "none": spread(empty)}

    def abstract(tree):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=place(None, "data") if x.shape == (8, 400) else place()
            ),
            tree,
        )

    def check(restored, step):
        assert restored.step == step, (restored.step, step)
        for name in ("w", "all"):
            array = restored.arrays[name]
            assert array.sharding == place(None, "data")
            expected = np.random.default_rng(step).normal(size=(8, 400)).astype(np.float32)
            for shard in array.addressable_shards:
                np.testing.assert_array_equal(shard.data, expected[shard.index])
        key = jax.random.key_data(restored.arrays["key"]).addressable_data(0)
        np.testing.assert_array_equal(key, jax.random.key_data(jax.random.key(step)))

    def open_at(directory=DIRECTORY, data="d"):
        return Checkpoints(directory, CheckpointConfig(every=1), fingerprint={"data": data})

    read = StepFiles.arrays

    def slowly(self, *arguments, seconds):
        if INDEX == 1:
            time.sleep(seconds)
        return read(self, *arguments)

    if SCENARIO == "stuck":
        hosts.set_deadline(5.0)
        with hosts.end_together(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(StepFiles, "arrays", partialmethod(slowly, seconds=3600))
            open_at().restore(abstract(arrays(0)))

    with open_at() as checkpoints:
        assert checkpoints.restore(abstract(arrays(0))) is None
        checkpoints.save(1, arrays(1), {"shared": 1})
        checkpoints.save(2, arrays(2), {"shared": 2})
        checkpoints.save(3, arrays(3), {"host": INDEX, "padding": "x" * 100 * INDEX})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3]
        restored = checkpoints.restore(abstract(arrays(0)))
        check(restored, 3)
        assert restored.host == {"host": INDEX, "padding": "x" * 100 * INDEX}

    # A host that reads slowly is waited for.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepFiles, "arrays", partialmethod(slowly, seconds=1))
        check(open_at().restore(abstract(arrays(0))), 3)

    # What only one host cannot read, none of them takes.
    for part in ("record/metadata", "arrays/manifest.ocdbt"):
        directory = f"{DIRECTORY} of host {INDEX}"
        shutil.copytree(DIRECTORY, directory)
        if INDEX == 1:
            os.remove(f"{directory}/3/{part}")
        check(open_at(directory).restore(abstract(arrays(0))), 2)
        shutil.rmtree(directory)

    # A fingerprint that differs on one host stops both.
    with pytest.raises(FingerprintError, match="data: saved as d, now d1"):
        open_at(data=f"d{INDEX or ''}").restore(abstract(arrays(0)))

    with Preemption() as preemption:
        assert not preemption.agreed()
        if INDEX == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested == (INDEX == 1)
        assert preemption.agreed()
    print("done")


main()
