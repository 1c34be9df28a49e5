"""The published data sets by name."""

from perl_jax.datasets import geometry3k, k12_freeform, mantis, mmk12, show_how_to, virl39k
from perl_jax.datasets.dataset import DataSet
from perl_jax.legible import suggestion

DATA_SETS: dict[str, DataSet] = {
    one.name: one
    for module in (mantis, mmk12, k12_freeform, virl39k, geometry3k, show_how_to)
    for one in module.DATA_SETS
}
"""The data sets that `perl_jax.data.build` builds."""


def data_set(name: str) -> DataSet:
    """Returns the data set with this name; raises ValueError if there is none."""
    if name not in DATA_SETS:
        hint = suggestion(name, DATA_SETS)
        raise ValueError(f"no data set {name!r}{hint}; expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
