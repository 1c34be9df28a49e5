"""Shows what each word of an example that could bear on the order of its images was taken for."""

from dataclasses import dataclass

from perl_jax.permutation.layout import lay_out, movable_slots
from perl_jax.permutation.rules import Rule
from perl_jax.permutation.texts import read
from perl_jax.types import Example


@dataclass(frozen=True)
class Accounted:
    """A word of an example and what it was taken for.

    Attributes:
        field: ``user turn`` and the like, ``question``, ``option 1`` and so on, or ``answer``.
        span: Where it begins and ends in the text of the field.
        text: The word itself.
        taken_for: The image that it names, as in ``image 2`` (counted from 1), or the use that
            makes it harmless, as in ``a count of things: dogs``.
    """

    field: str
    span: tuple[int, int]
    text: str
    taken_for: str


def account(example: Example, rule: Rule) -> tuple[Accounted, ...]:
    """What was understood of an example's texts, in reading order, when all images may move.

    A rule that keeps the text reads nothing of it but orders.

    Raises:
        CannotPermute: If the example cannot be permuted, whatever its text says.
    """
    movable = movable_slots(example, rule)
    order = list(range(len(example.images)))
    for slot, old in zip(movable, (*movable[1:], movable[0]), strict=True):
        order[slot] = old
    texts, scans = read(lay_out(example, tuple(order), rule))
    said = [f"{turn.role} turn" for turn in example.turns]
    options = [f"option {n}" for n in range(1, len(example.options) + 1)]
    names = [*said, "question", *options, "answer"]
    found = []
    for name, text, scan in zip(names, texts, scans, strict=True):
        mentions = [*scan.mentions, *(end for run in scan.runs for end in run.ends)]
        spans = [(m.start, m.end, f"image {m.slot + 1}") for m in mentions]
        spans += [(a.start, a.end, a.taken_for) for a in scan.accounts]
        found += [Accounted(name, (s, e), text[s:e], taken) for s, e, taken in sorted(spans)]
    return tuple(found)
