"""Asks an endpoint whether permuted rows still ask the same and have the right answers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from textwrap import indent

from tqdm import tqdm

from perl_jax.data.sources.source import Source
from perl_jax.endpoint import Endpoint, EndpointConfig, Refused
from perl_jax.inspection.cards import Look, draw
from perl_jax.legible import brief, legible
from perl_jax.permutation import rule_for
from perl_jax.preparation.stage import ordered_map
from perl_jax.types import Example

_MAX_CHARACTERS = 2_000
_QUOTED = 200
_PROMPT = Template("""\
The images of a question were put in another order, and a program rewrote the question, its \
options and its answer to fit. You do not see the images; <image> stands where one is shown. \
Images are counted from 1 in reading order. The first answer is right for the old order.

The new order:
$order

Before, in the old order:
$before

After, in the new order:
$after

Does the second question ask the same about the same pictures, and is the second answer the right \
one to it? If so, answer with exactly one word:
SAME
Otherwise answer with this word and the reason, in one sentence:
DIFFERENT: the reason
""")
# A word more than SAME may take it back.
_SAME = re.compile(r"\W*SAME\W*", re.IGNORECASE)
_DIFFERENT = re.compile(r"\W*DIFFERENT\b[\s*:.,;-]*(?P<reason>.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Opinion:
    """What an endpoint says of a permuted row.

    Attributes:
        example_id: The row.
        order: For each new slot, the old image that it shows, from 0.
        before: The conversation, options and answer in the row's own order; ``after`` in the other.
        agrees: Whether the rewriting is right; None: the endpoint does not say.
        reason: Why it is not right, or what the endpoint said instead.
    """

    example_id: str
    order: tuple[int, ...]
    before: str
    after: str
    agrees: bool | None
    reason: str


@dataclass(frozen=True)
class SecondOpinions:
    """The opinions of a model on a sample of permuted rows."""

    model: str
    checked: int
    agreed: int
    disagreed: tuple[Opinion, ...]
    not_answered: tuple[Opinion, ...]

    def table(self) -> str:
        """The counts, each disagreement with both texts, and the rows without an answer."""
        counts = f"{self.agreed} agreed, {len(self.disagreed)} disagreed"
        counts += f", {len(self.not_answered)} not answered"
        lines = [f"{self.model} checked {self.checked} permuted rows: {counts}"]
        for one in self.disagreed:
            lines += ["", f"disagreed on {one.example_id}, order {list(one.order)}: {one.reason}"]
            for title, text in (("before", one.before), ("after", one.after)):
                lines += [f"  {title}", indent(legible(text, _MAX_CHARACTERS), " " * 4)]
        if self.not_answered:
            lines.append("")
        lines += [f"not answered on {one.example_id}: {one.reason}" for one in self.not_answered]
        return "\n".join(lines)


@contextmanager
def opened(config: EndpointConfig) -> Iterator[Endpoint]:
    """Opens an endpoint that asks anew in each run; raises as `Endpoint` does."""
    with TemporaryDirectory() as answers, Endpoint(config, Path(answers)) as endpoint:
        yield endpoint


def second_opinions(
    source: Source, rows: Sequence[int], look: Look, endpoint: Endpoint
) -> SecondOpinions:
    """Asks about the rows with these numbers, which can be permuted, in the order of their cards.

    Raises:
        OSError: The endpoint or the storage fails.
    """

    def opinion(own: Example) -> Opinion:
        order, permuted = draw(own, rule_for(own, rules=look.rules), look.seed)
        before, after = _told(own), _told(permuted)
        pairs = (f"new image {new} is old image {old + 1}" for new, old in enumerate(order, 1))
        prompt = _PROMPT.substitute(order="\n".join(pairs), before=before, after=after)
        try:
            agrees, reason = read_verdict(endpoint.ask(prompt))
        except Refused as error:
            agrees, reason = None, str(error)
        return Opinion(own.id, order, before, after, agrees, reason)

    examples = (source[number] for number in rows)
    asked = ordered_map(opinion, examples, endpoint.config.concurrency)
    opinions = list(tqdm(asked, total=len(rows), unit="rows", disable=None))
    return SecondOpinions(
        model=endpoint.config.model,
        checked=len(opinions),
        agreed=sum(one.agrees is True for one in opinions),
        disagreed=tuple(one for one in opinions if one.agrees is False),
        not_answered=tuple(one for one in opinions if one.agrees is None),
    )


def read_verdict(answer: str) -> tuple[bool | None, str]:
    """Whether an answer agrees, and its reason; None, and a quotation, if it does not say."""
    said = answer.rpartition("</think>")[2].strip()
    if _SAME.fullmatch(said):
        return True, ""
    if match := _DIFFERENT.fullmatch(said):
        return False, match["reason"] or "no reason given"
    return None, f"expected SAME, or DIFFERENT and a reason; got {brief(said[:_QUOTED])}"


def _told(example: Example) -> str:
    turns = (f"{turn.role}: {turn.text}" for turn in example.turns)
    options = ("Options:", *example.options) if example.options else ()
    return "\n".join((*turns, example.question, *options, f"Answer: {example.answer}"))
