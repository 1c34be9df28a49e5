"""Writes the policy of a checkpoint as a Hugging Face directory.

    perl-jax export --workdir=runs/mine --out=models/mine --step=best

The best step is the one with the highest held-out accuracy. Of a run with learner.lora the adapters
are written, as a directory of PEFT; with --merged, the whole model.
"""

from collections.abc import Sequence
from pathlib import Path

from perl_jax.legible import brief
from perl_jax.main import command_parser, one_line_errors, parse
from perl_jax.mesh import find_devices
from perl_jax.runs import RUN_ERRORS, export
from perl_jax.storage import new_directory
from perl_jax.training.earlier import recorded_settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = command_parser("export", __doc__)
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="the directory of the run")
    parser.add_argument("--out", metavar="DIR", help="a new or empty directory, or a URL: gs://...")
    parser.add_argument("--step", default="latest", help="a step's number, latest, or best")
    parser.add_argument(
        "--merged", action="store_true", help="of a run with adapters, the whole model with them"
    )
    args = parse(parser, arguments, required=("workdir", "out"))
    if args.step not in ("latest", "best") and not args.step.isdigit():
        parser.error(f"--step: expected a number, latest or best; got {brief(args.step)}")
    with one_line_errors(*RUN_ERRORS, debug=args.debug):
        settings = recorded_settings(args.workdir)
        find_devices()
        with new_directory(args.out) as directory:
            step = export(settings, args.workdir, directory, args.step, merged=args.merged)
        print(f"step {step} is in {args.out}")


if __name__ == "__main__":
    main()
