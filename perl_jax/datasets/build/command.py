"""Builds a published data set for training.

    perl-jax build                      lists the names
    perl-jax build mantis_nlvr2 --data=downloads/Mantis-Instruct --out=data

The data set's module in ``perl_jax.datasets`` describes the expected layout of its published files.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from perl_jax.datasets.build.tfds_builder import BuildOptions, build
from perl_jax.datasets.registry import DATA_SETS, data_set
from perl_jax.main import command_parser, one_line_errors, parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = command_parser("build", __doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the data set")
    parser.add_argument("--data", type=Path, metavar="DIR", help="has the published files")
    parser.add_argument("--out", type=Path, metavar="DIR", help="gets the built data set")
    parser.add_argument("--limit", type=int, help="read only so many rows of each split")
    parser.add_argument("--splits", help="build only these, such as train or train,val")
    share = "fail where more than this share of a split's rows cannot be used; default: 0.01"
    parser.add_argument("--max_bad_fraction", type=float, default=0.01, help=share)
    args = parse(parser, arguments, renamed={"--source": "--data", "--data_dir": "--out"})
    if args.name is None:
        print(_listing())
        return
    if args.data is None or args.out is None:
        parser.error("--data and --out are required")
    with one_line_errors(debug=args.debug):
        splits = tuple(args.splits.split(",")) if args.splits else None
        options = BuildOptions(args.limit, splits, args.max_bad_fraction)
        logging.basicConfig(format="%(message)s")
        logging.getLogger("perl_jax").setLevel(logging.INFO)
        built = build(data_set(args.name), args.data, args.out, options)
        print(f"{built.table()}\n\n{args.name} is in {built.directory}")


def _listing() -> str:
    width = max(map(len, DATA_SETS))
    return "\n".join(
        f"{name:<{width}}  {item.title} ({item.licence}): {item.description}"
        for name, item in sorted(DATA_SETS.items())
    )
