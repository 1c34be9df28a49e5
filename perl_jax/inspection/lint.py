"""Counts which rows can be permuted, and why others cannot.

    perl-jax lint --data=rows.parquet --decode_images
    perl-jax lint --config=demo --config.data.train.digits.rows=100

Also counts rows that a run could not use, by reason; the exit code is 1 if they are more than
--max_bad_fraction. Of a configuration, the rows are those of data.train. No model is loaded, so too
long prompts are not found; images are only checked with --decode_images. With --audit=PAGE, a
sample of permuted rows is written as a page that shows what each word that could bear on the order
of the images was taken for. With --audit_url and --audit_model, an OpenAI-compatible endpoint
compares each row of that sample before and after; disagreements do not change the exit code.
"""

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from perl_jax.data.config import open_source
from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.pipeline.rows import Filtered, RowReader, Skipped
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.endpoint import Endpoint, EndpointConfig
from perl_jax.files import write_whole
from perl_jax.inspection.cards import Look
from perl_jax.inspection.naming import (
    Named,
    at_least_one,
    open_named,
    parse,
    prints_config,
    source_parser,
)
from perl_jax.inspection.second_opinion import SecondOpinions, opened, second_opinions
from perl_jax.inspection.show import page, permuted_rows, render
from perl_jax.legible import legible
from perl_jax.main import one_line_errors
from perl_jax.permutation import LintReport, Rules, lint
from perl_jax.processing import ImageError, load_rgb
from perl_jax.settings import Fraction, check_value, plain
from perl_jax.types import Example

_WIDTH = 100
_INDENT = " " * 4


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
        """The counts as text, and what is wrong with the first row of each reason."""
        lines = [f"{self.reasons.total()} of {self.rows} rows cannot be used ({self.fraction:.1%})"]
        if self.reasons:
            lines += ["", f"{'cannot be used because':<30}{'rows':>10}  such as"]
        for reason, count in self.reasons.most_common():
            sample = self.samples[reason]
            lines.append(f"{reason:<30}{count:>10}  {sample.name}")
            lines += textwrap.wrap(
                sample.message, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
            )
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
    parser = source_parser("lint", __doc__)
    parser.add_argument("--limit", type=at_least_one, help="read so many rows only")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the report, as JSON")
    parser.add_argument("--decode_images", action="store_true", help="also decode every image")
    share = "the share of bad rows above which the exit code is 1; default: 0.01"
    parser.add_argument("--max_bad_fraction", type=float, default=0.01, help=share)
    parser.add_argument(
        "--audit", type=page, metavar="PAGE", help="write what words were taken for, PAGE.html"
    )
    parser.add_argument("--audit_rows", type=at_least_one, default=20, help="default: 20")
    url = "an endpoint's, before /chat/completions: it compares the rows before and after"
    parser.add_argument("--audit_url", metavar="URL", help=url)
    parser.add_argument("--audit_model", metavar="NAME", help="the endpoint's name for its model")
    key = "the environment variable with the endpoint's API key; default: no key"
    parser.add_argument("--audit_api_key_env", metavar="VARIABLE", help=key)
    args = parse(parser, arguments, renamed={"--json": "--out"})
    config = _auditor(parser, args)
    with one_line_errors(debug=args.debug):
        if prints_config(args, "lint"):
            return 0
        # Opened first: a key that is not set is found before the rows are read.
        with opened(config) if config else nullcontext() as endpoint:
            return _lint(args, endpoint)


def _auditor(parser: argparse.ArgumentParser, args: argparse.Namespace) -> EndpointConfig | None:
    if (args.audit_url is None) != (args.audit_model is None):
        parser.error("--audit_url and --audit_model go together")
    if args.audit_url is None:
        if args.audit_api_key_env is not None:
            parser.error("--audit_api_key_env goes with --audit_url")
        return None
    try:
        return EndpointConfig(args.audit_url, args.audit_model, args.audit_api_key_env)
    except ValueError as error:
        parser.error(f"--audit_url: {error}")


def _lint(args: argparse.Namespace, endpoint: Endpoint | None) -> int:
    named = open_named(args)
    check_value(Fraction, args.max_bad_fraction, "max_bad_fraction")
    report, bad = lint_source(
        open_source(named.source),
        rules=named.rules,
        seed=named.seed,
        limit=args.limit,
        decode_images=args.decode_images,
    )
    print(legible(f"{report.table()}\n\n{bad.table()}"))
    opinions = _audit(args, named, endpoint) if args.audit or endpoint else None
    if args.out:
        found = {
            "name": args.name,
            "rows": bad.rows,
            "bad": dict(bad.reasons),
            "bad_samples": plain(bad.samples),
            "share": report.fraction,
            "second_opinions": plain(opinions),
            **plain(report),
        }
        write_whole(args.out, json.dumps(found, indent=2) + "\n")
    if bad.fraction > args.max_bad_fraction:
        most = f"max_bad_fraction = {args.max_bad_fraction}"
        print(f"error: more rows cannot be used than {most}", file=sys.stderr)
    return int(bad.fraction > args.max_bad_fraction)


def _audit(
    args: argparse.Namespace, named: Named, endpoint: Endpoint | None
) -> SecondOpinions | None:
    look = Look(permuted=True, rules=named.rules, seed=named.seed)
    source = open_source(named.source)
    rows = permuted_rows(source, look, args.audit_rows)
    if args.audit:
        write_whole(args.audit, render(args.name, source, rows, look)[0])
        print(f"{len(rows)} permuted rows to audit: {args.audit.resolve()}")
    if endpoint is None:
        return None
    opinions = second_opinions(source, rows, look, endpoint)
    print(legible(f"\n{opinions.table()}"))
    return opinions


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
    check_text(example)
    return example


def _with_images(example: Example) -> Example:
    for number, image in enumerate(example.images, 1):
        try:
            load_rgb(image)
        except ImageError as error:
            raise BadRow.of(example, "bad_image", f"image {number}: {error}") from error
    return _with_text(example)
