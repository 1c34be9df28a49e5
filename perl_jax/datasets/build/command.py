"""Builds a published data set for training: ``python -m perl_jax.data.build NAME``.

Without a name, lists the names. The data set's module in ``perl_jax.datasets`` describes the
expected layout of its published files.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from perl_jax.datasets.build.tfds_builder import BuildOptions, build
from perl_jax.datasets.registry import DATA_SETS, data_set


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser("python -m perl_jax.data.build", description=__doc__)
    parser.add_argument("name", nargs="?", help="of the data set")
    parser.add_argument("--source", type=Path, help="the directory with the published files")
    parser.add_argument("--data_dir", type=Path, help="the directory of built data sets")
    parser.add_argument("--limit", type=int, help="read only so many rows of each split")
    parser.add_argument("--splits", help="build only these, such as train or train,val")
    share = "fail where more than this share of a split's rows cannot be used"
    parser.add_argument("--max_bad_fraction", type=float, default=0.01, help=share)
    args = parser.parse_args(arguments)
    if args.name is None:
        print(_listing())
        return
    if args.source is None or args.data_dir is None:
        parser.error("--source and --data_dir are required")
    splits = tuple(args.splits.split(",")) if args.splits else None
    options = BuildOptions(args.limit, splits, args.max_bad_fraction)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("perl_jax").setLevel(logging.INFO)
    built = build(data_set(args.name), args.source, args.data_dir, options)
    print(f"{built.table()}\n\n{args.name} is in {built.directory}")


def _listing() -> str:
    width = max(map(len, DATA_SETS))
    return "\n".join(
        f"{name:<{width}}  {item.title} ({item.licence}): {item.description}"
        for name, item in sorted(DATA_SETS.items())
    )
