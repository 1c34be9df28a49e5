"""Writes the policy of a checkpoint as a Hugging Face directory: ``python -m perl_jax.export``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from perl_jax.main import one_line_errors
from perl_jax.runs import CONFIG, RUN_ERRORS, export


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m perl_jax.export", description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="of the run")
    parser.add_argument("--out", type=Path, required=True, help="a new or empty directory")
    parser.add_argument("--step", default="latest", help="a step's number, latest, or best")
    args = parser.parse_args(arguments)
    if args.step not in ("latest", "best") and not args.step.isdigit():
        parser.error(f"--step: expected a number, latest or best; got {args.step!r}")
    settings = json.loads((args.workdir / CONFIG).read_text(encoding="utf-8"))
    step = export(settings, args.workdir, args.out, args.step)
    print(f"step {step} is in {args.out}")


if __name__ == "__main__":
    with one_line_errors(*RUN_ERRORS):
        main()
