"""Counts which rows can be permuted, and why others cannot: ``python -m perl_jax.data.lint``.

Also counts rows that a run could not use, by reason; the exit code is 1 if they are more than
--max_bad_fraction. NAME is digits, a file, or a configuration file, whose fields are overridden as
--config.data.train.digits.rows=100. No model is loaded, so too long prompts are not found; images
are only checked with --decode_images. With --audit=PAGE, a sample of permuted rows is written as a
page that shows what each word that could bear on the order of the images was taken for.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from perl_jax.data.config import open_source
from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.pipeline.rows import Filtered, RowReader, Skipped
from perl_jax.data.sources.legible import legible
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.files import write_whole
from perl_jax.inspection.cards import Look
from perl_jax.inspection.naming import at_least_one, parse, source_parser
from perl_jax.inspection.show import page, permuted_rows, render
from perl_jax.permutation import LintReport, Rules, lint
from perl_jax.processing import ImageError, load_rgb
from perl_jax.settings import Fraction, check_value, plain
from perl_jax.types import Example, prompt_text

_WIDTH = 100


@dataclass
class BadRows:
    """The rows that cannot be used, and the first one of each reason.

    ``rows`` is the number of all rows that were read.
    """

    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: dict[str, Skipped] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """The fraction of all rows that are bad; 0 if there are none."""
        return self.reasons.total() / self.rows if self.rows else 0.0

    def table(self) -> str:
        """The counts as text of at most 100 columns."""
        lines = [f"{self.reasons.total()} of {self.rows} rows cannot be used ({self.fraction:.1%})"]
        if self.reasons:
            lines += ["", f"{'cannot be used because':<30}{'rows':>10}  such as"]
        for reason, count in self.reasons.most_common():
            sample = " ".join(str(self.samples[reason]).split())
            lines.append(f"{reason:<30}{count:>10}  {sample}"[:_WIDTH])
        return "\n".join(lines)


def lint_source(
    source: Source,
    *,
    rules: Rules | None = None,
    seed: int = 0,
    limit: int | None = None,
    decode_images: bool = False,
) -> tuple[LintReport, BadRows]:
    """Tries to permute every row, or the first ``limit`` rows, that a run could use.

    Your ``rules`` come before the built-in ones; ``seed`` draws the orders. With ``decode_images``,
    an image that cannot be decoded makes a row bad.

    Raises:
        ValueError: A column that a rule reads has an unexpected value; it would end a run too.
        OSError: The storage fails.
    """
    bad = BadRows()
    reader = RowReader(source, _with_images if decode_images else _with_text)
    rows = len(source) if limit is None else min(limit, len(source))
    return lint(_good_rows(reader, rows, bad), rules=rules, seed=seed), bad


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = source_parser("perl_jax.data.lint", __doc__)
    parser.add_argument("--limit", type=at_least_one, help="read so many rows only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found")
    parser.add_argument("--decode_images", action="store_true", help="also decode every image")
    parser.add_argument("--max_bad_fraction", type=float, default=0.01, help="default: 0.01")
    parser.add_argument(
        "--audit", type=page, metavar="PAGE", help="write what words were taken for"
    )
    parser.add_argument("--audit_rows", type=at_least_one, default=20, help="default: 20")
    args, named = parse(parser, arguments)
    check_value(Fraction, args.max_bad_fraction, "max_bad_fraction")
    report, bad = lint_source(
        open_source(named.source),
        rules=named.rules,
        seed=named.seed,
        limit=args.limit,
        decode_images=args.decode_images,
    )
    print(legible(f"{report.table()}\n\n{bad.table()}"))
    if args.audit:
        look = Look(permuted=True, rules=named.rules, seed=named.seed)
        source = open_source(named.source)
        rows = permuted_rows(source, look, args.audit_rows)
        write_whole(args.audit, render(args.name, source, rows, look)[0])
        print(f"{len(rows)} permuted rows to audit: {args.audit.resolve()}")
    if args.json:
        found = {
            "name": args.name,
            "rows": bad.rows,
            "bad": dict(bad.reasons),
            "bad_samples": plain(bad.samples),
            "share": report.fraction,
            **plain(report),
        }
        write_whole(args.json, json.dumps(found, indent=2) + "\n")
    if bad.fraction > args.max_bad_fraction:
        most = f"max_bad_fraction = {args.max_bad_fraction}"
        print(f"error: more rows cannot be used than {most}", file=sys.stderr)
    return int(bad.fraction > args.max_bad_fraction)


def _good_rows(
    read: Callable[[int], Example | Skipped], rows: int, bad: BadRows
) -> Iterator[Example]:
    for number in tqdm(range(rows), unit="rows", disable=None):
        row = read(number)
        if isinstance(row, Filtered):
            continue
        bad.rows += 1
        if isinstance(row, Skipped):
            bad.reasons[row.reason] += 1
            bad.samples.setdefault(row.reason, row)
        else:
            yield row


def _with_text(example: Example) -> Example:
    check_text(example, prompt_text(example))
    return example


def _with_images(example: Example) -> Example:
    for number, image in enumerate(example.images, 1):
        try:
            load_rgb(image)
        except ImageError as error:
            raise BadRow("bad_image", example.id, f"image {number}: {error}") from error
    return _with_text(example)
