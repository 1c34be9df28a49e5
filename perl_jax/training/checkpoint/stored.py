"""What arrays a directory holds, by the metadata that TensorStore wrote of each."""

import json
import os
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

    There are none where there is no store. Raises some exception if it cannot be read.
    """
    store = tensorstore.KvStore.open(_spec(directory)).result()
    names = [key.decode() for key in store.list().result()]
    reads = {name: store.read(name) for name in names if name.endswith(_METADATA)}
    found = {}
    for name, read in reads.items():
        metadata: Mapping[str, Any] = json.loads(read.result().value)
        dtype = str(jnp.dtype(metadata["dtype"]))
        found[name.removesuffix(_METADATA)] = tuple(metadata["shape"]), dtype
    return found


def _spec(directory: epath.Path) -> dict[str, Any]:
    """The store in a directory; its path is taken as it is, and not as a URL that is decoded."""
    path = f"{directory}/"
    base = {"driver": "file", "path": path}
    if path.startswith("gs://"):
        bucket, _, inner = path.removeprefix("gs://").partition("/")
        # The variable is Orbax's, which wrote the arrays.
        driver = os.environ.get("TENSORSTORE_GCS_BACKEND", "gcs")
        base = {"driver": driver, "bucket": bucket, "path": inner}
    return {"driver": "ocdbt", "base": base}
