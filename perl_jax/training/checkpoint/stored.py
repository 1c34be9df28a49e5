"""What arrays a directory holds, by the metadata that TensorStore wrote of each."""

import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import tensorstore
from etils import epath

# The name of an array's metadata in its store, as version 2 of Zarr has it.
_METADATA = "/.zarray"


def stored_arrays(directory: epath.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and the dtype of every array that Orbax wrote into a directory, by name.

    Orbax has ``metadata()`` for this, which asks TensorStore for the specification of every array
    as JSON: in TensorStore 0.1.86 each answer stays in memory for ever, which is a megabyte for
    every few saves.

    None, where there is no store. Raises some exception if it cannot be read.
    """
    path = str(directory)
    base: Any = f"{path}/" if "://" in path else {"driver": "file", "path": f"{path}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    names = [key.decode() for key in store.list().result()]
    reads = {name: store.read(name) for name in names if name.endswith(_METADATA)}
    found = {}
    for name, read in reads.items():
        metadata: Mapping[str, Any] = json.loads(read.result().value)
        dtype = str(jnp.dtype(metadata["dtype"]))
        found[name.removesuffix(_METADATA)] = tuple(metadata["shape"]), dtype
    return found
