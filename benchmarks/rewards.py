r"""How fast answers are graded, against comparing each of them by math-verify.

2,048 answers in groups of 12 rollouts, as in training: letters, numbers, orders, fractions, and a
third of expressions. Most of the 778 rows that need mathematics repeat a comparison. The other side
parses and compares every row in this process. ``hostile``: 30 answers whose evaluation would take
for ever cost their deadlines, shared among the workers, and little else: the ratio is that of the
deadlines to the time.
"""

import random
import time
from collections.abc import Iterator

from benchmarks.harness import Case, Options, alternate, ratio
from perl_jax.rewards import Grader, count_grades

ROWS = 2048
ROLLOUTS = 12
HOSTILE_ROWS, DEADLINE, WORKERS = 30, 1.0, 2
HOSTILE = (
    "9^{{9^{{9^{{{n}}}}}}}",
    "(({n}00000!)!)!",
    r"\binom{{10^{{9}}+{n}}}{{10^{{8}}}}",
    r"\sum_{{n=1}}^{{10^{{9}}+{n}}} \sin(n)",
)


def ordinary(rng: random.Random) -> tuple[list[str], list[object]]:
    """Groups of 12 rollouts: letters, numbers, orders, fractions, and a third of expressions."""
    responses: list[str] = []
    answers: list[object] = []
    while len(responses) < ROWS:
        n = rng.randrange(2, 1000)
        truth, forms = rng.choice(
            [
                ("B", ["B", "(B)", "C", r"\text{B}", "D."]),
                (n, [f"{n}", f"{n}.0", f"{n + 1}", rf"{n}\text{{ cm}}"]),
                ("2→1→3→4", ["2, 1, 3, 4", "[2,1,3,4]", "1, 2, 3, 4"]),
                (f"{n}/7", [rf"\frac{{{n}}}{{7}}", rf"\dfrac{{{2 * n}}}{{14}}", f"{n / 7:.3f}"]),
                (rf"{n}\sqrt{{3}}", [rf"\sqrt{{3}} \cdot {n}", rf"\sqrt{{{3 * n * n}}}"]),
                (rf"\frac{{{n}\pi}}{{6}}", [rf"\frac{{\pi \cdot {n}}}{{6}}", rf"{n}\pi/3"]),
                (f"x+{n}", [f"{n}+x", f"x-{n}", f"x + {n}"]),
            ]
        )
        chosen = [rng.choice(forms) for _ in range(ROLLOUTS)]
        responses += [f"<think>so</think>\\boxed{{{form}}}" for form in chosen]
        answers += [truth] * ROLLOUTS
    return responses[:ROWS], answers[:ROWS]


def hostile(count: int) -> tuple[list[str], list[object]]:
    texts = [HOSTILE[n % len(HOSTILE)].format(n=n + 9) for n in range(count)]
    return [f"\\boxed{{{text}}}" for text in texts], ["5"] * count


def by_math_verify(responses: list[str], answers: list[object]) -> int:
    """How many rows it calls right."""
    from math_verify import parse, verify

    return sum(
        bool(verify(parse(f"\\boxed{{{answer}}}"), parse(response)))
        for response, answer in zip(responses, answers, strict=True)
    )


def run(options: Options) -> Iterator[Case]:
    """A case of ordinary answers and one of hostile ones."""
    plain, attack = ordinary(random.Random(0)), hostile(HOSTILE_ROWS)
    right: dict[str, int] = {}

    def ours() -> None:
        # A new grader each time: it remembers what it has compared.
        with Grader(num_workers=1, deadline=DEADLINE) as grader:
            right["perl_jax"] = count_grades(grader.grade(*plain))["scored"]

    def theirs() -> None:
        right["math-verify"] = by_math_verify(*plain)

    seconds = alternate({"math-verify": theirs, "perl_jax": ours}, options.turns(3))
    facts = {
        "rows": ROWS,
        "scored": right["perl_jax"],
        "right by math-verify": right["math-verify"],
    }
    times = ratio(seconds["math-verify"], seconds["perl_jax"])
    yield Case("ordinary", {"time": times}, seconds, facts=facts)

    with Grader(num_workers=WORKERS, deadline=DEADLINE) as grader:
        grader.grade(*plain)
        start = time.perf_counter()
        counts = count_grades(grader.grade(*attack))
        spent = time.perf_counter() - start
    deadlines = HOSTILE_ROWS * DEADLINE / WORKERS
    yield Case(
        "hostile",
        {"deadlines": deadlines / spent},
        {"perl_jax": [spent]},
        facts={"rows": HOSTILE_ROWS, "unscored": counts["unscored"]},
    )
