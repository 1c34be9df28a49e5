"""Finds the source and the rules that an inspection command names."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perl_jax.data.config import SourceConfig
from perl_jax.data.sources.dataset_directory import DatasetDirectoryConfig
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.jsonl import JsonlConfig
from perl_jax.data.sources.parquet import ParquetConfig
from perl_jax.data.sources.row_files import RowsConfig
from perl_jax.data.sources.source import SourceKind
from perl_jax.data.sources.tfds_config import TfdsConfig
from perl_jax.files import parse_json
from perl_jax.legible import brief
from perl_jax.main import add_config, command_parser, print_config
from perl_jax.main import parse as parse_flags
from perl_jax.overrides import load_config, open_config
from perl_jax.permutation import Rules, rules_from_config

if TYPE_CHECKING:
    from perl_jax.config import RunConfig

_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Named:
    """A source, its rules (they come before the built-in ones), and the seed of its orders."""

    source: SourceConfig
    rules: Rules = field(default_factory=dict)
    seed: int = 0


def find_source(
    name: str, *, image_root: str | None = None, overrides: Mapping[str, str] = _NONE
) -> Named:
    """Finds the source that the command line names.

    Args:
        name: A configuration file, or a name of one of the `KINDS`.
        image_root: For named data files, the directory that image paths are relative to.
        overrides: Fields of a configuration file by their paths.

    Raises:
        ValueError: The name is of no kind, or the configuration is wrong.
        FileNotFoundError: The configuration file is missing.
        TypeError: A field of the configuration has the wrong type.
    """
    files_only = f"image_root: expected with files that are named; got it with {name}"
    if is_config(name):
        if image_root is not None:
            raise ValueError(files_only)
        return find_configured(name, overrides)
    recognised = {kind: recognise(name) for kind, (_, recognise) in KINDS.items()}
    chosen: dict[str, Any] = {kind: one for kind, one in recognised.items() if one is not None}
    if not chosen:
        raise ValueError(f"{name}: expected one of these: {_names()}; a configuration CONFIG.py")
    if overrides:
        path, value = next(iter(overrides.items()))
        given = f"--config.{path}={value}"
        raise ValueError(f"{given}: only fields of a configuration file are set so")
    if image_root is not None:
        ((kind, rows),) = chosen.items()
        if not isinstance(rows, RowsConfig):
            raise ValueError(files_only)
        chosen = {kind: replace(rows, image_root=image_root)}
    return Named(SourceConfig(**chosen))


def find_configured(file: str, overrides: Mapping[str, str]) -> Named:
    """The training rows of a configuration, its rules and its seed; raises as `open_run` does."""
    config = open_run(file, overrides)
    return Named(config.data.train, rules_from_config(config.permutation.rules), config.seed)


def load_rules(path: str) -> Rules:
    """Loads the permutation rules of a JSON file or a configuration file.

    Raises:
        ValueError: It is neither, or a rule is wrong.
        FileNotFoundError: It is missing.
    """
    if path.endswith(".py"):
        permutation = load_config(path, _NONE).get("permutation") or {}
        return rules_from_config(permutation.get("rules") or {}, "config.permutation.rules")
    if Path(path).suffix != ".json":
        raise ValueError(f"rules: expected a .json file or a configuration file; got {brief(path)}")
    try:
        rules = parse_json(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    return rules_from_config(rules, path)


def source_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that `parse` reads."""
    parser = command_parser(command, description)
    parser.add_argument("--data", metavar="NAME", help=f"the rows; one of: {_names()}")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the same as --data, or --config")
    add_config(parser)
    rules = "your permutation rules: a JSON file, or a configuration file"
    parser.add_argument("--rules", metavar="FILE", help=rules)
    parser.add_argument("--image_root", metavar="DIR", help="where paths of images start")
    parser.add_argument("--seed", type=int, help="of the orders; default: the configuration's")
    return parser


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    *,
    required: Sequence[str] = (),
    renamed: Mapping[str, str] = _NONE,
) -> argparse.Namespace:
    """Parses the arguments of a `source_parser`; ``name`` is then what names the rows."""
    args = parse_flags(parser, arguments, required=required, renamed=renamed)
    given = [one for one in (args.config, args.data, args.name) if one is not None]
    if len(given) != 1:
        parser.error(f"expected one of --data and --config; got {', '.join(given) or 'none'}")
    (args.name,) = given
    if args.config and args.image_root is not None:
        parser.error("--image_root goes with --data")
    return args


def open_named(args: argparse.Namespace) -> Named:
    """What the arguments name; raises as `find_source` and `load_rules` do."""
    if args.config:
        named = find_configured(args.config, args.overrides)
    else:
        named = find_source(args.name, image_root=args.image_root, overrides=args.overrides)
    rules = {**named.rules, **(load_rules(args.rules) if args.rules else {})}
    return Named(named.source, rules, named.seed if args.seed is None else args.seed)


def prints_config(args: argparse.Namespace, command: str) -> bool:
    """Prints the configuration if that is asked for; whether it was."""
    if args.print_config:
        print_config(open_run(args.config, args.overrides), command)
    return bool(args.print_config)


def open_run(file: str, overrides: Mapping[str, str]) -> "RunConfig":
    """The configuration of a run, as its command reads it."""
    # Imported here: it imports jax, which named files do not need.
    from perl_jax.config import TrainConfig, WarmstartConfig

    fields = load_config(file, overrides)
    if "train" not in (fields.get("data") or {}):
        raise ValueError(f"{file}: expected config.data.train; got {', '.join(fields)}")
    names = [
        {item.name for item in dataclasses.fields(kind)} for kind in (TrainConfig, WarmstartConfig)
    ]
    only_supervised = (names[1] - names[0]) & fields.keys()
    kind: type[RunConfig] = WarmstartConfig if only_supervised else TrainConfig
    return open_config(kind, file, overrides)


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
        "what perl-jax build built, DIR/NAME/VERSION",
        lambda name: TfdsConfig(name) if (Path(name) / "dataset_info.json").is_file() else None,
    ),
}
"""By field of `SourceConfig`: the names in words, and the source with a name, or None."""


def _names() -> str:
    words = [words for words, _ in KINDS.values()]
    return "; ".join(words)


def is_config(name: str) -> bool:
    """Whether a name is that of a configuration file, as ``FILE.py`` or ``FILE.py:TEXT``."""
    return name.endswith(".py") or ".py:" in name
