"""One of two processes that load and save a model together: ``PORT INDEX SOURCE DIRECTORY``."""

import sys
from pathlib import Path

import jax
import pytest
from flax import nnx

PORT, INDEX, SOURCE, DIRECTORY = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:])


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{PORT}", 2, INDEX, shutdown_timeout_seconds=30)
    from perl_jax.mesh import make_mesh
    from perl_jax.models import load, load_model, save_model

    assert (jax.process_count(), jax.device_count()) == (2, 4)
    read, read_slice = 0, load.read_slice

    def counting(tensor, index):
        nonlocal read
        part = read_slice(tensor, index)
        read += part.nbytes
        return part

    load.read_slice = counting
    model = load_model(SOURCE, dtype="float32", mesh=make_mesh(fsdp=4))
    print("read", read)
    leaves = jax.tree.leaves(nnx.state(model))
    assert not any(leaf.is_fully_addressable for leaf in leaves)
    print("held", sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves))
    save_model(model, DIRECTORY, max_shard_bytes=300_000)
    assert (DIRECTORY / "config.json").is_file()
    # The second time the first host has a reason to refuse: the other one ends, too.
    expected = FileExistsError if INDEX == 0 else RuntimeError
    with pytest.raises(expected, match=r"expected a new or empty|the first host could not write"):
        save_model(model, DIRECTORY)
    print("done")


main()
