"""Writes a page to look at data: ``python -m perl_jax.data.show NAME --permuted --out=page.html``.

Rows with their images, question, options, answer and metadata; with --permuted, beside each the
order that a run would show it in, with the words and the answer that change marked, or why it stays
as it is. NAME is digits, a file, or a configuration file, whose fields are overridden as
--config.data.train.digits.rows=100. The page is one file without scripts, and loads nothing.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from perl_jax.data.config import open_source
from perl_jax.data.sources.legible import legible
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.files import write_whole
from perl_jax.inspection.cards import Look, cards
from perl_jax.inspection.naming import at_least_one, parse, source_parser

_TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, source: Source, rows: Sequence[int], look: Look) -> tuple[str, Counter[str]]:
    """Shows the rows with these numbers.

    Returns:
        The page as HTML, and how many rows were ``read``, ``permuted``, ``kept`` in their own order
        or ``bad``.
    """
    shown = list(zip(rows, cards(source, rows, look), strict=True))
    counts = Counter(card.state for _, card in shown)
    reasons = Counter((card.state, card.reason) for _, card in shown if card.reason)
    # Every text of the data is escaped here.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("show.html").render(
        name=legible(name),
        total=len(source),
        cards=shown,
        counts=counts,
        # Why rows are bad or kept in order: state, reason and how many, the most frequent first.
        reasons=[(*why, count) for why, count in reasons.most_common()],
        seed=look.seed,
        permuted=look.permuted,
    )
    return page, counts


def choose(
    source: Source, count: int, *, sample: int | None = None, ids: Sequence[str] = ()
) -> list[int]:
    """The numbers of the rows to show, in their order.

    Args:
        source: Holds the rows.
        count: The most rows.
        sample: The seed by which they are drawn; None: the first ones.
        ids: The examples to show instead.

    Raises:
        ValueError: No row has one of the ids.
    """
    if ids:
        return _find(source, ids)
    count = min(count, len(source))
    if sample is None:
        return list(range(count))
    return sorted(random.Random(sample).sample(range(len(source)), count))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = source_parser("perl_jax.data.show", __doc__)
    parser.add_argument("--out", type=_page, required=True, help="the page, PAGE.html")
    parser.add_argument("--permuted", action="store_true", help="show another order beside")
    parser.add_argument("--n", type=at_least_one, default=20, help="how many rows; default: 20")
    parser.add_argument("--sample", type=int, metavar="SEED", help="rows drawn, not the first")
    parser.add_argument("--id", action="append", default=[], help="this example; repeatable")
    size = "longest side of pictures; default: 192"
    parser.add_argument("--image_size", type=at_least_one, default=192, help=size)
    args, named = parse(parser, arguments)
    source = open_source(named.source)
    rows = choose(source, args.n, sample=args.sample, ids=args.id)
    look = Look(args.permuted, named.rules, named.seed, args.image_size)
    page, counts = render(args.name, source, rows, look)
    write_whole(args.out, page)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    print(f"{len(rows)} of {len(source)} rows ({states}): {args.out.resolve()}")


def _page(text: str) -> Path:
    if not text.endswith((".html", ".htm")):
        raise argparse.ArgumentTypeError(f"expected a file that ends in .html; got {text}")
    return Path(text)


def _find(source: Source, ids: Sequence[str]) -> list[int]:
    """The rows with these ids, read one after another until all are found."""
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
