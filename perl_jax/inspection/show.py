"""Writes a page that shows rows.

    perl-jax show --data=rows.parquet --permuted --out=page.html
    perl-jax show --config=demo --config.data.train.digits.rows=100 --out=page.html

Shows rows with all their fields; with --permuted, also in the order that a run would use, with
changed words marked, or why a row keeps its order. Of a configuration, the rows are those of
data.train. The page is one file without scripts, and loads nothing.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from perl_jax.data.config import open_source
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.files import write_whole
from perl_jax.inspection.cards import Look, cards
from perl_jax.inspection.naming import (
    at_least_one,
    open_named,
    parse,
    prints_config,
    source_parser,
)
from perl_jax.inspection.pages import environment, page
from perl_jax.legible import legible
from perl_jax.main import one_line_errors


def render(name: str, source: Source, rows: Sequence[int], look: Look) -> tuple[str, Counter[str]]:
    """Returns the HTML page of the rows with these numbers, and the number of rows by state."""
    shown = list(zip(rows, cards(source, rows, look), strict=True))
    counts = Counter(card.state for _, card in shown)
    reasons = Counter((card.state, card.reason) for _, card in shown if card.reason)
    text = (
        environment()
        .get_template("show.html")
        .render(
            name=legible(name),
            total=len(source),
            cards=shown,
            counts=counts,
            # State, reason and count of bad and kept rows, the most frequent first.
            reasons=[(*why, count) for why, count in reasons.most_common()],
            seed=look.seed,
            permuted=look.permuted,
        )
    )
    return text, counts


def choose(
    source: Source, count: int, *, sample: int | None = None, ids: Sequence[str] = ()
) -> list[int]:
    """Returns the numbers of the rows to show, in order.

    These are the rows with the given ids, or else up to ``count`` rows: drawn with the seed
    ``sample``, or the first ones. Raises ValueError if no row has one of the ids.
    """
    if ids:
        return _find(source, ids)
    count = min(count, len(source))
    if sample is None:
        return list(range(count))
    return sorted(random.Random(sample).sample(range(len(source)), count))


def permuted_rows(source: Source, look: Look, count: int) -> list[int]:
    """Returns the numbers of up to ``count`` rows that can be permuted, drawn with the seed."""
    drawn = random.Random(look.seed).sample(range(len(source)), len(source))
    states = zip(drawn, cards(source, drawn, look), strict=True)
    permuted = (number for number, card in states if card.state == "permuted")
    return sorted(islice(permuted, count))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = source_parser("show", __doc__)
    parser.add_argument("--out", type=page, metavar="FILE", help="the page, PAGE.html")
    parser.add_argument("--permuted", action="store_true", help="show another order beside")
    parser.add_argument("--limit", type=at_least_one, default=20, help="of rows; default: 20")
    parser.add_argument("--sample", type=int, metavar="SEED", help="rows drawn, not the first")
    parser.add_argument("--id", action="append", default=[], help="this example; repeatable")
    size = "longest side of pictures; default: 192"
    parser.add_argument("--image_size", type=at_least_one, default=192, help=size)
    args = parse(parser, arguments, required=("out",), renamed={"--n": "--limit"})
    with one_line_errors(debug=args.debug):
        if not prints_config(args, "show"):
            _show(args)


def _show(args: argparse.Namespace) -> None:
    named = open_named(args)
    source = open_source(named.source)
    rows = choose(source, args.limit, sample=args.sample, ids=args.id)
    look = Look(args.permuted, named.rules, named.seed, args.image_size)
    text, counts = render(args.name, source, rows, look)
    write_whole(args.out, text)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    print(f"{len(rows)} of {len(source)} rows ({states}): {args.out.resolve()}")


def _find(source: Source, ids: Sequence[str]) -> list[int]:
    wanted, found = set(ids), []
    for number in range(len(source)):
        try:
            id = source[number].id
        except BadRow:
            continue
        if id in wanted:
            found.append(number)
            wanted.remove(id)
        if not wanted:
            return found
    missing = ", ".join(map(repr, sorted(wanted)))
    raise ValueError(f"id: expected ids of rows that can be read; found none with {missing}")
