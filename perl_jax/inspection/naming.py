"""Finds the source and the rules that an inspection command names."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perl_jax.data.config import SourceConfig
from perl_jax.data.sources.dataset_directory import DatasetDirectoryConfig
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.jsonl import JsonlConfig
from perl_jax.data.sources.parquet import ParquetConfig
from perl_jax.data.sources.row_files import RowsConfig
from perl_jax.data.sources.source import SourceKind
from perl_jax.data.sources.tfds_config import TfdsConfig
from perl_jax.overrides import load_config, split_overrides
from perl_jax.permutation import Rules, rules_from_config
from perl_jax.settings import read_config

# The fields that these commands read, and so check; a run checks the rest.
_READ = ("data.train", "permutation.rules", "seed")


@dataclass(frozen=True)
class Named:
    """A source, its rules (they come before the built-in ones), and the seed of its orders."""

    source: SourceConfig
    rules: Rules = field(default_factory=dict)
    seed: int = 0


def find_source(
    name: str, *, image_root: str | None = None, overrides: Sequence[str] = ()
) -> Named:
    """Finds the source that the command line names.

    Args:
        name: A configuration file, or a name of one of the `KINDS`.
        image_root: For named data files, the directory that image paths are relative to.
        overrides: Fields of a configuration file, as in ``--config.data.train.digits.rows=9``.

    Raises:
        ValueError: The name is of no kind, or the configuration is wrong.
        FileNotFoundError: The configuration file is missing.
        TypeError: A field of the configuration has the wrong type.
    """
    files_only = f"image_root: expected with files that are named; got it with {name}"
    if name.endswith(".py"):
        if image_root is not None:
            raise ValueError(files_only)
        config = _load_config(name, overrides)
        data = config.get("data")
        if not isinstance(data, Mapping) or "train" not in data:
            raise ValueError(f"{name}: expected config.data.train; got {', '.join(config)}")
        source = read_config(SourceConfig, data["train"], "config.data.train")
        seed = read_config(_Seed, {"seed": config.get("seed", 0)}).seed
        return Named(source, _rules(config), seed)
    recognised = {kind: recognise(name) for kind, (_, recognise) in KINDS.items()}
    chosen: dict[str, Any] = {kind: one for kind, one in recognised.items() if one is not None}
    if not chosen:
        raise ValueError(f"{name}: expected one of these: {_names()}")
    if overrides:
        raise ValueError(f"{overrides[0]}: only fields of a configuration file are set so")
    if image_root is not None:
        ((kind, rows),) = chosen.items()
        if not isinstance(rows, RowsConfig):
            raise ValueError(files_only)
        chosen = {kind: replace(rows, image_root=image_root)}
    return Named(SourceConfig(**chosen))


def load_rules(path: str) -> Rules:
    """Loads the permutation rules of a JSON file or a configuration file.

    Raises:
        ValueError: It is neither, or a rule is wrong.
        FileNotFoundError: It is missing.
    """
    if path.endswith(".py"):
        return _rules(_load_config(path, ()))
    if Path(path).suffix != ".json":
        raise ValueError(f"rules: expected a .json file or a configuration file; got {path!r}")
    try:
        rules = json.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    return rules_from_config(rules, path)


def source_parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that `parse` reads."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("name", metavar="NAME", help=f"the source; one of: {_names()}")
    rules = "your permutation rules: a JSON file, or a configuration file"
    parser.add_argument("--rules", metavar="FILE", help=rules)
    parser.add_argument("--image_root", metavar="DIR", help="where paths of images start")
    parser.add_argument("--seed", type=int, help="of the orders; default: the configuration's")
    return parser


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> tuple[argparse.Namespace, Named]:
    """Parses the arguments of a `source_parser`; raises as `find_source` and `load_rules` do."""
    args, overrides = parser.parse_known_args(arguments)
    named = find_source(args.name, image_root=args.image_root, overrides=overrides)
    rules = {**named.rules, **(load_rules(args.rules) if args.rules else {})}
    return args, Named(named.source, rules, named.seed if args.seed is None else args.seed)


def at_least_one(text: str) -> int:
    """Parses a positive number."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1; got {text}")
    return number


def _dataset_directory(name: str) -> DatasetDirectoryConfig | None:
    path = Path(name)
    if not (path / "state.json").is_file():
        return None
    splits = path.parent / "dataset_dict.json"
    directory, split = (path.parent, path.name) if splits.is_file() else (path, None)
    return DatasetDirectoryConfig(path=str(directory), split=split)


KINDS: Mapping[str, tuple[str, Callable[[str], SourceKind | None]]] = {
    "digits": (
        "digits, the built-in demo",
        lambda name: DigitsConfig() if name == "digits" else None,
    ),
    "parquet": (
        "FILE.parquet, or a pattern such as 'data/train-*.parquet'",
        lambda name: ParquetConfig(paths=(name,)) if name.endswith(".parquet") else None,
    ),
    "jsonl": (
        "FILE.jsonl, or a pattern",
        lambda name: JsonlConfig(paths=(name,)) if name.endswith(".jsonl") else None,
    ),
    "dataset_directory": (
        "a directory that save_to_disk wrote, DIR or DIR/SPLIT",
        _dataset_directory,
    ),
    "tfds": (
        "what perl_jax.data.build built, DIR/NAME/VERSION",
        lambda name: TfdsConfig(name) if (Path(name) / "dataset_info.json").is_file() else None,
    ),
}
"""By field of `SourceConfig`: the names in words, and the source with a name, or None."""


def _names() -> str:
    words = [words for words, _ in KINDS.values()]
    return "; ".join([*words, "a configuration file CONFIG.py, whose data.train it is"])


@dataclass(frozen=True)
class _Seed:
    seed: int


def _rules(config: Mapping[str, Any]) -> Rules:
    permutation = config.get("permutation") or {}
    return rules_from_config(permutation.get("rules") or {}, "config.permutation.rules")


def _load_config(path: str, arguments: Sequence[str]) -> Mapping[str, Any]:
    """The fields of a configuration file, as a run reads them."""
    overrides, left = split_overrides(arguments)
    if left:
        raise ValueError(f"{path}: expected fields as --config.data...=VALUE; got {left[0]!r}")
    listed = load_config(path, {})
    for name in overrides:
        if not name.startswith(_READ) and not _holds(listed, name):
            expected = f"expected a field of the file or of {', '.join(_READ)}"
            raise ValueError(f"{path}: config.{name}: unknown key; {expected}")
    return load_config(path, overrides)


def _holds(config: Any, path: str) -> bool:
    name, _, rest = path.partition(".")
    held = isinstance(config, Mapping) and name in config
    return held and (not rest or _holds(config[name], rest))
