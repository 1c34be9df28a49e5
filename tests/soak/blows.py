"""What strikes a run, and when: the same for the same seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

# Who is killed, or when the main process is; a disk fills until the run ends, and is emptied.
KINDS = ("main", "data worker", "grader worker", "saving", "restoring", "disk")
HOSTS = ("host 0", "host 1")
# Steps that a run does between two blows: about a minute of them, with a start, on a free core.
FEWEST, MOST = 20, 80


@dataclass(frozen=True)
class Blow:
    """One of them: so many steps after the last one, and then within so many seconds."""

    kind: str
    after: int
    seconds: float


def blows(seed: int, kinds: Sequence[str] = KINDS, first: int = 0) -> Iterator[Blow]:
    """All blows from number ``first`` on; each round of them has one of each kind."""
    for number in count(first):
        turn, place = divmod(number, len(kinds))
        order = random.Random(f"{seed} {turn}").sample(kinds, len(kinds))
        draw = random.Random(f"{seed} {turn} {place}")
        yield Blow(order[place], draw.randint(FEWEST, MOST), draw.uniform(0, 1))
