"""The published data sets by name."""

from perl_jax.datasets import (
    geometry3k,
    k12_freeform,
    mantis,
    mmk12,
    show_how_to,
    virl39k,
)
from perl_jax.datasets.dataset import DataSet
from perl_jax.settings import suggestion


def _by_name(*groups: tuple[DataSet, ...]) -> dict[str, DataSet]:
    found: dict[str, DataSet] = {}
    for data_set in (data_set for group in groups for data_set in group):
        if data_set.name in found:
            raise ValueError(f"{data_set.name}: expected a name of its own; two data sets have it")
        found[data_set.name] = data_set
    return found


DATA_SETS: dict[str, DataSet] = _by_name(
    mantis.DATA_SETS,
    mmk12.DATA_SETS,
    k12_freeform.DATA_SETS,
    virl39k.DATA_SETS,
    geometry3k.DATA_SETS,
    show_how_to.DATA_SETS,
)
"""What `perl_jax.data.build` builds."""


def data_set(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in DATA_SETS:
        hint = suggestion(name, DATA_SETS)
        raise ValueError(f"no data set {name!r}{hint}; expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
