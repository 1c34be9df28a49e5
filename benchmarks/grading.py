r"""How fast answers are graded, and what hostile ones cost.

    python benchmarks/grading.py [--workers 2] [--deadline 2.0]

Prints a table and a JSON line. Measured on 2 cores of a shared x86 server (Python 3.11, no gmpy2)
with the defaults, while other work kept the machine busy:

    start                                  0.95 s
    2,048 ordinary                         0.32 s      0 unscored
    the same again (remembered)            0.03 s      0 unscored
    2,048 ordinary and 100 hostile       101.25 s    100 unscored
    all deadlines of the hostile         100.00 s

The ordinary rows are groups of 12 rollouts, as in training: of 778 rows that need mathematics most
repeat a comparison. The hostile ones cost their deadlines, shared among the workers.
"""

import argparse
import json
import os
import random
import time

from perl_jax.rewards import Grader, count_grades

ROWS = 2048
ROLLOUTS = 12
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


def timed(grader: Grader, rows: tuple[list[str], list[object]]) -> tuple[float, dict[str, int]]:
    start = time.perf_counter()
    grades = grader.grade(*rows)
    return time.perf_counter() - start, count_grades(grades)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=2.0)
    options = parser.parse_args()
    plain, attack = ordinary(random.Random(0)), hostile(100)
    start = time.perf_counter()
    with Grader(num_workers=options.workers, deadline=options.deadline) as grader:
        results = {"start": (time.perf_counter() - start, {})}
        results["2,048 ordinary"] = timed(grader, plain)
        results["the same again (remembered)"] = timed(grader, plain)
    with Grader(num_workers=options.workers, deadline=options.deadline) as grader:
        results["2,048 ordinary and 100 hostile"] = timed(
            grader, (plain[0] + attack[0], plain[1] + attack[1])
        )
    bound = 100 * options.deadline / options.workers
    print(f"{options.workers} workers, deadline {options.deadline} s, {os.cpu_count()} processors")
    for name, (seconds, counts) in results.items():
        print(f"{name:34} {seconds:8.2f} s  {counts.get('unscored', 0):4} unscored")
    print(f"{'all deadlines of the hostile':34} {bound:8.2f} s")
    print(json.dumps({name: {"seconds": round(s, 3), **c} for name, (s, c) in results.items()}))


if __name__ == "__main__":
    main()
