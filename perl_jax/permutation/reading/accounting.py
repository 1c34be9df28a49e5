"""Accounts for every word that could bear on the order of the images, or refuses the example."""

from collections.abc import Callable, Sequence

from perl_jax.permutation.reading import counts, letters, ordinals, sequences, sides
from perl_jax.permutation.reading.languages import foreign_word
from perl_jax.permutation.reading.placeholders import MASK, UNDERSTOOD, mask
from perl_jax.permutation.reading.quotes import Quote, quote_at, quotes_of
from perl_jax.permutation.reading.scan import Account, Scan
from perl_jax.permutation.reading.tokens import Kind, kind_of, tokens
from perl_jax.permutation.reading.uses import Facts, Role, Use
from perl_jax.permutation.reading.words import CARDINALS

_PROOFS: dict[Kind, tuple[Callable[[Use], str | None], str]] = {
    "number": (counts.number, "ambiguous_reference"),
    "count": (counts.count, "ambiguous_reference"),
    "ordinal": (ordinals.ordinal, "ambiguous_reference"),
    "side": (sides.side, "ambiguous_side"),
    "level": (sides.level, "layout_reference"),
    "letter": (letters.letter, "named_image"),
    "sequence": (sequences.sequence, "sequence_word"),
}
"""The proofs that a word of a kind is harmless, and the reason to refuse it where none holds."""

MAX_WORDS = 2000
"""The most words of a text that are accounted for."""

_FILLER_WORDS = """
the number no nr ones boxed answer is and or option choice text mathrm mathbf textbf only
"""
_FILLERS = frozenset(_FILLER_WORDS.split())


def account_for(
    scan: Scan, text: str, facts: Facts, role: Role, parts: Sequence[tuple[int, int]]
) -> None:
    """Adds an account, or a doubt, for each word of a scan that could bear on an order.

    Args:
        scan: A text whose references have been read.
        text: The text itself.
        facts: What is known of the example.
        role: What the text is.
        parts: Where the options in the text, or the answer that it is, begin and end.
    """
    scan.begin_pass()
    quotes = list(quotes_of(text))
    _check_quotes(scan, text, quotes)
    _check_language(scan, quotes)
    wholes, bearing = _wholes(scan, parts), 0
    for token in tokens(scan.text):
        kind = kind_of(token, scan.text, scan.reader)
        if kind is None or (kind == "sequence" and scan.reader.sequences):
            continue
        bearing += 1
        if bearing > MAX_WORDS:
            scan.doubt("text_too_long", f"more than {MAX_WORDS} words that could bear on the order")
            return
        quote = quote_at(quotes, token.start)
        if quote and quote.seen:
            scan.accounts.append(Account(token.start, token.end, "words that a picture shows"))
        elif kind == "script":
            scan.doubt("other_language", text[token.start : token.end])
        else:
            _prove(scan, text, kind, Use(token, scan, facts, role, wholes.get(token.start, "")))


def _prove(scan: Scan, text: str, kind: Kind, use: Use) -> None:
    proof, reason = _PROOFS[kind]
    if taken_for := proof(use):
        scan.accounts.append(Account(use.token.start, use.token.end, taken_for))
        return
    around = text[max(0, use.token.start - 30) : use.token.end + 30]
    quote = f"{text[use.token.start : use.token.end]!r} in {' '.join(around.split())!r}"
    if use.whole or use.role == "answer":
        reason = "ambiguous_answer"
    names_a_slot = kind in ("number", "ordinal") and use.word.isascii()
    scan.doubt(reason, quote, *([use.word] if names_a_slot else []))


def _check_quotes(scan: Scan, text: str, quotes: Sequence[Quote]) -> None:
    """Doubts references inside quotes: they may be words that a picture shows."""
    named = [*scan.mentions, *(end for run in scan.runs for end in run.ends)]
    for mention in named:
        if quote := quote_at(quotes, mention.start):
            scan.doubt("quoted_words", text[quote.start : quote.end])


def _check_language(scan: Scan, quotes: Sequence[Quote]) -> None:
    if word := foreign_word(mask(scan.text, quotes, " ")):
        scan.doubt("other_language", word)


def _wholes(scan: Scan, parts: Sequence[tuple[int, int]]) -> dict[int, str]:
    """The text of each option or answer of just words for places, by where each of them stands.

    Such as "2", "the left one", "2-3", "1 < 2" and "Option 2".
    """
    wholes: dict[int, str] = {}
    for start, end in parts:
        if MASK in scan.text[start:end] or UNDERSTOOD in scan.text[start:end]:
            continue
        words = [token for token in tokens(scan.text[start:end]) if token.word[0].isalnum()]
        words = [token for token in words if token.word not in _FILLERS] or words
        numbers = all(token.word[0].isdigit() or token.word in CARDINALS for token in words)
        if len(words) == 1 or numbers:
            wholes |= {start + word.start: scan.text[start:end] for word in words}
    return wholes
