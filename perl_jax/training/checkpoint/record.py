"""The record of a step: its content, the run that saved it, and checksums to verify it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.legible import brief
from perl_jax.training.workdir import fingerprint_of_config

_VERSION = 1


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none could be read."""


class FingerprintError(CheckpointError):
    """The checkpoint belongs to a run with other data, configuration or code."""


@dataclass(frozen=True)
class Leaf:
    """One array of a checkpoint.

    Attributes:
        shape: The shape; for typed keys, without the axis of their words.
        dtype: The name of the dtype.
        checksum: The checksum of its bits (see ``checksums``).
        key: The name of the generator, for typed keys.
    """

    shape: tuple[int, ...]
    dtype: str
    checksum: str
    key: str | None = None


@dataclass(frozen=True)
class StepRecord:
    """The data stored beside a step's arrays; `Checkpoints` explains the first three fields.

    Attributes:
        hosts: The state of every host, JSON-able.
        leaves: The arrays by name.
    """

    step: int
    metric: float | None
    fingerprint: dict[str, Any]
    hosts: list[Any]
    leaves: dict[str, Leaf]

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, with a digest of its content."""
        content = {"version": _VERSION, **asdict(self)}
        return {**content, "sha256": fingerprint_of_config(content)}

    @classmethod
    def from_json(cls, value: Any) -> "StepRecord":
        """Reads the output of `to_json`.

        Raises:
            ValueError: It is something else, or was changed.
        """
        if not isinstance(value, dict) or "sha256" not in value:
            raise ValueError("the record is not one of ours")
        content = {name: entry for name, entry in value.items() if name != "sha256"}
        if fingerprint_of_config(content) != value["sha256"]:
            raise ValueError("the record was changed after it was written: its digest differs")
        version = content.pop("version", None)
        if version != _VERSION:
            raise ValueError(f"the record has version {brief(version)}; expected {_VERSION}")
        try:
            leaves = {
                name: Leaf(**{**leaf, "shape": tuple(leaf["shape"])})
                for name, leaf in content.pop("leaves").items()
            }
            record = cls(**content, leaves=leaves)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"the record is not one of ours: {brief(error)}") from error
        record._check_kinds()
        return record

    def _check_kinds(self) -> None:
        """Raises ValueError for a value of another kind than a save writes."""
        kinds = {"step": int, "metric": float | None, "fingerprint": dict, "hosts": list}
        for name, kind in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"the record is not one of ours: {name} is {brief(value)}")
        if not self.hosts or (self.metric is not None and not math.isfinite(self.metric)):
            raise ValueError("the record is not one of ours: no hosts, or no finite metric")


def check_json(name: str, value: Any) -> None:
    """Raises ValueError unless a value survives a round trip through JSON unchanged."""
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected what JSON can hold; {error}") from error
    if not same:
        raise ValueError(
            f"{name}: expected what JSON gives back as it was (text as keys, lists instead of "
            f"tuples); got {value!r:.200}"
        )


def check_fingerprint(place: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises FingerprintError, which names what differs, unless two fingerprints are the same."""
    names = sorted(saved.keys() | now.keys())
    lines = [
        f"  {name}: saved as {saved.get(name, 'nothing')}, now {now.get(name, 'nothing')}"
        for name in names
        if saved.get(name) != now.get(name)
    ]
    if lines:
        raise FingerprintError(f"{place} belongs to another run:\n" + "\n".join(lines))
