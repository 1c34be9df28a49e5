"""Writes a page about a run.

    perl-jax report --workdir=runs/demo --out=report.html
    perl-jax report --workdir=gs://bucket/run --out=report.html --limit=50

Shows learning curves, what was filtered and permuted, evaluations, and groups of rollouts with
their pictures under each order. The run may still go on. The page is one file, and loads nothing.
"""

from collections.abc import Sequence

from perl_jax.files import write_whole
from perl_jax.inspection.naming import at_least_one
from perl_jax.inspection.pages import page
from perl_jax.main import command_parser, one_line_errors, parse
from perl_jax.page.render import render
from perl_jax.page.run_files import RunFiles


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = command_parser("report", __doc__)
    parser.add_argument("--workdir", metavar="DIR", help="the directory of the run, or a URL of it")
    parser.add_argument("--out", type=page, metavar="FILE", help="the page, PAGE.html")
    limit = "of groups, from all steps and sources; default: 200"
    parser.add_argument("--limit", type=at_least_one, default=200, help=limit)
    args = parse(parser, arguments, required=("workdir", "out"))
    with one_line_errors(debug=args.debug):
        with RunFiles(args.workdir) as files:
            written = render(files, args.limit)
        write_whole(args.out, written.text)
        print(f"{written.shown} of {written.logged} groups: {args.out.resolve()}")


if __name__ == "__main__":
    main()
