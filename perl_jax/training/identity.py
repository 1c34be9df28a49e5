"""The identity of a run: what must stay the same while it goes on, and what may change.

A checkpoint records the whole configuration, and digests of the data, the model and the code. A run
that goes on from it is compared field by field, so that a message can name what changed.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any

from perl_jax.legible import suggestion
from perl_jax.permutation.sources import BUILT_IN
from perl_jax.settings import plain
from perl_jax.training.checkpoint.record import FingerprintError

CODE, DATA, MODEL = "code", "data", "model"

FREE = (
    # How far a run goes, and how closely it is watched. `Identity` treats ``steps`` by itself.
    "evaluation", "early_stop", "checkpoint", "logging", "export", "hosts", "data.held_out",
    "data.pipeline.max_bad_fraction", "permutation.unknown", "learner.max_logprob_gap",
    "optimizer.max_skipped", "reward.max_failed", "reward.function_deadline",
    "filtering.max_empty_steps",
    # Where and how the work is done: none of it changes the results, except for rounding.
    "mesh", "rollout.mesh", "rollout.sampler", "reward.workers", "learner.packing",
    "rollout.merge_adapters", "learner.remat", "learner.logprob_chunk", "data.pipeline.workers",
    "data.pipeline.prefetch", "compilation", "model.attention",
    # The model is known by its content, and the objective by its fields.
    "model.path", "objective.preset",
)  # fmt: skip
"""Sections and fields that may differ between a checkpoint and the run that goes on from it."""

# Fields in which the hosts of a run may differ.
_OF_A_HOST = (
    "logging", "checkpoint", "export", "hosts", "mesh", "rollout.mesh", "reward.workers",
    "data.pipeline.workers", "data.pipeline.prefetch", "model.path", "compilation",
)  # fmt: skip

_RULES = "permutation.rules"
_TRAIN = "data.train"
_MAX_TEXT = 200


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


@dataclass(frozen=True)
class Change:
    """A field, or an entry of the identity, that differs.

    Attributes:
        note: Why it matters, for messages.
    """

    path: str
    saved: Any
    now: Any
    note: str = ""

    def __str__(self) -> str:
        return f"{self.path}: saved as {_text(self.saved)}, now {_text(self.now)}{self.note}"


@dataclass(frozen=True)
class Identity:
    """What a run is, to be compared with a checkpoint.

    Attributes:
        kind: The command: ``train`` or ``warmstart``.
        config: The configuration, a dataclass.
        contents: Digests of the ``data``, the ``model`` and the ``code``.
        origin: Where the model came from: its path, and its revision if it is the hub's.
        tied_to_steps: The settings that depend on the number of steps, such as
            ``optimizer.schedule=cosine``.
    """

    kind: str
    config: Any
    contents: Mapping[str, str]
    origin: str
    tied_to_steps: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The JSON values that a checkpoint holds."""
        return {
            "kind": self.kind,
            "config": _finite(plain(self.config)),
            "contents": dict(self.contents),
            "origin": self.origin,
        }

    def fixed(self) -> dict[str, str]:
        """What all hosts of a run must have in common, as text by name."""
        leaves = {path: _text(value) for path, value in _leaves("", _finite(plain(self.config)))}
        return {"kind": self.kind, **self.contents} | {
            path: text for path, text in leaves.items() if not _within_any(path, _OF_A_HOST)
        }

    def compare(self, place: str, saved: Mapping[str, Any], allow: Collection[str]) -> list[str]:
        """The differences from a checkpoint's `record`, all of which are allowed, in words.

        A field that the checkpoint lacks counts as having its default.

        Args:
            place: The checkpoint.
            saved: Its record.
            allow: The fields, sections and entries that may differ besides `FREE`.

        Raises:
            FingerprintError: Others differ, which are all named.
        """
        if not isinstance(saved.get("config"), Mapping):
            raise FingerprintError(
                f"{place} was saved by a version of perl_jax that did not record settings; "
                "--init_from=WORKDIR starts a new run from its parameters"
            )
        if saved["kind"] != self.kind:
            raise FingerprintError(
                f"{place} was saved by `{saved['kind']}`, and this is `{self.kind}`; give another "
                "--workdir (--init_from=WORKDIR starts from its parameters)"
            )
        changes = list(self._changes(saved))
        refused = [change for change in changes if not self._is_allowed(change, allow)]
        if refused:
            flags = ",".join(dict.fromkeys(self._flag(change.path) for change in refused))
            given = "".join(f"{name}," for name in allow)
            raise FingerprintError(
                f"{place} belongs to a run with other settings:\n"
                + "".join(f"  {change}\n" for change in refused)
                + f"To go on with what is new, add --allow_changes={given}{flags}. To keep that "
                "run as it is, give another --workdir; --restart moves its files aside and starts "
                "again."
            )
        return [str(change) for change in changes]

    def _changes(self, saved: Mapping[str, Any]) -> Iterator[Change]:
        changes = list(_differences("", saved["config"], self.config))
        for change in changes:
            if change.path == "steps" and self.tied_to_steps:
                verb = "depends" if len(self.tied_to_steps) == 1 else "depend"
                note = f" ({' and '.join(self.tied_to_steps)} {verb} on it)"
                yield Change(change.path, change.saved, change.now, note)
            elif change.path != "model.path":
                yield change
        was, now = saved["contents"], self.contents
        # Other settings of the rows are another content, and are named already.
        if was[DATA] != now[DATA] and not any(_within(c.path, _TRAIN) for c in changes):
            yield Change(DATA, was[DATA][:12], now[DATA][:12], " (digests of the rows)")
        if was[MODEL] != now[MODEL]:
            before = f"{was[MODEL][:12]} from {saved['origin']}"
            after = f"{now[MODEL][:12]} from {self.origin}"
            yield Change(MODEL, before, after, " (digests of the files)")
        if was[CODE] != now[CODE]:
            yield Change(CODE, was[CODE][:12], now[CODE][:12], " (digests of perl_jax)")

    def _is_allowed(self, change: Change, allow: Collection[str]) -> bool:
        path = change.path
        # A run may go on with repaired code.
        if path == CODE or _within_any(path, FREE) or _within_any(path, allow):
            return True
        if path == "steps":
            return not self.tied_to_steps
        if path == DATA:
            return _TRAIN in allow
        if _within(path, _RULES) and change.saved is _NOTHING:
            # Another rule for a source that has a shipped one is not an added rule.
            source = path.removeprefix(_RULES + ".").lower()
            return source not in {name.lower() for name in BUILT_IN}
        return self._flag(path) in allow

    def _flag(self, path: str) -> str:
        """The name that allows a change: the path, or a section if it is gone or odd to type."""
        if _within(path, _TRAIN):
            return _TRAIN
        known = set(_paths("", plain(self.config)))
        while path and not (path in known and re.fullmatch(r"[\w.]+", path)):
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return path or CODE


def check_names(config: Any, allow: Collection[str]) -> None:
    """Raises ValueError if a name is neither a field or section of a configuration nor ``code``.

    ``data`` and ``model`` stand for the sections and for the content.
    """
    known = {CODE, *_paths("", plain(config))}
    for name in allow:
        if name not in known:
            raise ValueError(
                "--allow_changes: expected fields or sections of the configuration, or code; got "
                f"{name!r}{suggestion(name, known)}"
            )


def _differences(path: str, saved: Any, now: Any) -> Iterator[Change]:
    """The fields that differ; ``now`` is a configuration or a value in one."""
    if is_dataclass(now) and isinstance(saved, Mapping):
        members = fields(now)
        for member in members:
            was = saved[member.name] if member.name in saved else _default(member)
            yield from _differences(_join(path, member.name), was, getattr(now, member.name))
        for name in sorted(saved.keys() - {member.name for member in members}):
            yield Change(_join(path, name), saved[name], _NOTHING)
    elif isinstance(now, Mapping) and isinstance(saved, Mapping):
        for name in sorted(saved.keys() | now.keys()):
            was, value = saved.get(name, _NOTHING), now.get(name, _NOTHING)
            yield from _differences(_join(path, name), was, value)
    elif _has_sections(now) and isinstance(saved, list):
        for place in range(max(len(now), len(saved))):
            was, value = (side[place] if place < len(side) else _NOTHING for side in (saved, now))
            yield from _differences(f"{path}[{place}]", was, value)
    elif saved is _NOTHING or now is _NOTHING or saved != _finite(plain(now)):
        yield Change(path, saved, now if now is _NOTHING else _finite(plain(now)))


def _has_sections(value: Any) -> bool:
    return isinstance(value, tuple) and any(is_dataclass(item) for item in value)


def _default(member: "Field[Any]") -> Any:
    if member.default is not MISSING:
        return _finite(plain(member.default))
    if member.default_factory is not MISSING:
        return _finite(plain(member.default_factory()))
    return _NOTHING


def _finite(value: Any) -> Any:
    """JSON values with infinity as text, which a checkpoint's record can hold."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(_join(path, name), item)
    else:
        yield path, value


def _paths(path: str, value: Any) -> Iterator[str]:
    """The paths of all fields, sections and items of plain values."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(_join(path, name), item)
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _paths(f"{path}[{place}]", item)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _within(path: str, section: str) -> bool:
    return path == section or path.startswith((f"{section}.", f"{section}["))


def _within_any(path: str, sections: Collection[str]) -> bool:
    return any(_within(path, section) for section in sections)


def _text(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
