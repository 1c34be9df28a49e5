"""What the commands that look at data take as the name of a source, and as rules.

A new kind of source is named here and nowhere else: `KINDS` says in words what a name may be, and
has the function that recognises such a name.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perl_jax.data.config import (
    DatasetDirectoryConfig,
    JsonlConfig,
    ParquetConfig,
    SourceConfig,
    TfdsConfig,
)
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.overrides import load_config, split_overrides
from perl_jax.permutation import Rules, rules_from_config
from perl_jax.settings import read_config

# What the commands that look at data read of a configuration, and so check; a run checks the rest.
_READ = ("data.train", "permutation.rules", "seed")


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes:
        source: The source.
        rules: The permutation rules that come before the built-in ones.
        seed: Of the orders that are drawn.
    """

    source: SourceConfig
    rules: Rules = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class _Request:
    """A name and what was said beside it."""

    name: str
    image_root: str | None
    overrides: tuple[str, ...]


def find_source(
    name: str, *, image_root: str | None = None, overrides: Sequence[str] = ()
) -> Named:
    """Finds what a name on the command line stands for.

    Args:
        name: One of `KINDS`.
        image_root: The directory that paths of images are relative to, where files are named.
        overrides: Fields of a configuration file, as in ``--config.data.train.digits.rows=9``.

    Raises:
        ValueError: The name is of no kind, or the configuration is not what it should be.
        FileNotFoundError: The configuration file is missing.
        TypeError: A field of the configuration has the wrong type.
    """
    request = _Request(name, image_root, tuple(overrides))
    found = next(filter(None, (recognise(request) for recognise in KINDS.values())), None)
    if found is None:
        kinds = "; ".join(KINDS)
        raise ValueError(f"{name}: expected one of these: {kinds}")
    if overrides and not _is_config(name):
        raise ValueError(f"{overrides[0]}: only fields of a configuration file are set so")
    if image_root is not None and (request.name == "digits" or _is_config(name)):
        raise ValueError(f"image_root: expected with files that are named; got it with {name}")
    return found


def load_rules(path: str) -> Rules:
    """The permutation rules of a JSON file, or those of a configuration file.

    Raises:
        ValueError: It is neither, or a rule is not what it should be.
        FileNotFoundError: It is missing.
    """
    if _is_config(path):
        return _rules(_load_config(path, ()))
    if Path(path).suffix != ".json":
        raise ValueError(f"rules: expected a .json file or a configuration file; got {path!r}")
    try:
        rules = json.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    return rules_from_config(rules, path)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that `parse_source` reads."""
    parser.add_argument("name", metavar="NAME", help=f"the source; one of: {'; '.join(KINDS)}")
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="your permutation rules: a JSON file, or a configuration file",
    )
    parser.add_argument("--image_root", metavar="DIR", help="where paths of images start")
    parser.add_argument("--seed", type=int, help="of the orders; default: the configuration's")


def parse_source(args: argparse.Namespace, overrides: Sequence[str]) -> Named:
    """What the arguments of `add_source_arguments` stand for.

    Args:
        args: As parsed.
        overrides: The arguments that the parser did not know.

    Raises:
        ValueError: As `find_source` and `load_rules`, as are the others.
        FileNotFoundError: A file is missing.
        TypeError: A field of the configuration has the wrong type.
    """
    named = find_source(args.name, image_root=args.image_root, overrides=overrides)
    rules = {**named.rules, **(load_rules(args.rules) if args.rules else {})}
    seed = named.seed if args.seed is None else args.seed
    return Named(named.source, rules, seed)


def _digits(request: _Request) -> Named | None:
    return Named(SourceConfig(digits=DigitsConfig())) if request.name == "digits" else None


def _config_file(request: _Request) -> Named | None:
    if not _is_config(request.name):
        return None
    config = _load_config(request.name, request.overrides)
    data = config.get("data")
    if not isinstance(data, Mapping) or "train" not in data:
        raise ValueError(f"{request.name}: expected config.data.train; got {', '.join(config)}")
    source = read_config(SourceConfig, data["train"], "config.data.train")
    return Named(source, _rules(config), read_config(_Seed, {"seed": config.get("seed", 0)}).seed)


def _parquet(request: _Request) -> Named | None:
    if not request.name.endswith(".parquet"):
        return None
    config = ParquetConfig(paths=(request.name,), image_root=request.image_root)
    return Named(SourceConfig(parquet=config))


def _jsonl(request: _Request) -> Named | None:
    if not request.name.endswith(".jsonl"):
        return None
    config = JsonlConfig(paths=(request.name,), image_root=request.image_root)
    return Named(SourceConfig(jsonl=config))


def _dataset_directory(request: _Request) -> Named | None:
    """``DIR`` for a directory without splits, ``DIR/SPLIT`` for one of them."""
    path = Path(request.name)
    if not (path / "state.json").is_file():
        return None
    splits = path.parent / "dataset_dict.json"
    directory, split = (path.parent, path.name) if splits.is_file() else (path, None)
    config = DatasetDirectoryConfig(path=str(directory), split=split, image_root=request.image_root)
    return Named(SourceConfig(dataset_directory=config))


def _built(request: _Request) -> Named | None:
    if not (Path(request.name) / "dataset_info.json").is_file():
        return None
    if request.image_root is not None:
        raise ValueError(f"image_root: expected with files of rows; got it with {request.name}")
    return Named(SourceConfig(tfds=TfdsConfig(request.name)))


KINDS: Mapping[str, Callable[[_Request], Named | None]] = {
    "digits, the built-in demo": _digits,
    "FILE.parquet, or a pattern such as 'data/train-*.parquet'": _parquet,
    "FILE.jsonl, or a pattern": _jsonl,
    "a directory that save_to_disk wrote, DIR or DIR/SPLIT": _dataset_directory,
    "what perl_jax.data.build built, DIR/NAME/VERSION": _built,
    "a configuration file CONFIG.py, whose data.train it is": _config_file,
}
"""In words, what a name may be, and what recognises it."""


@dataclass(frozen=True)
class _Seed:
    seed: int


def _is_config(name: str) -> bool:
    return name.endswith(".py")


def _rules(config: Mapping[str, Any]) -> Rules:
    permutation = config.get("permutation") or {}
    return rules_from_config(permutation.get("rules") or {}, "config.permutation.rules")


def _load_config(path: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """The fields of a configuration file, read as a run would read them."""
    overrides, left = split_overrides(arguments)
    if left:
        raise ValueError(f"{path}: expected fields as --config.data...=VALUE; got {left[0]!r}")
    listed = load_config(path, {})
    for name in overrides:
        if not name.startswith(_READ) and not _holds(listed, name):
            raise ValueError(
                f"{path}: config.{name}: unknown key; expected a field of the file or of "
                f"{', '.join(_READ)}"
            )
    return load_config(path, overrides)


def _holds(config: Any, path: str) -> bool:
    """Whether a configuration has a field."""
    name, _, rest = path.partition(".")
    held = isinstance(config, Mapping) and name in config
    return held and (not rest or _holds(config[name], rest))
