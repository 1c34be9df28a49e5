r"""Measures ratios on one pinned core and compares them with the committed ones.

    python -m benchmarks.run [NAME ...] [--json FILE] [--check] [--core 1] [--repeats 5] [--cpu]

Without names, all benchmarks run:

    rollout   the sampler against transformers' generate; a prefix shared by more rollouts
    update    the shared update against one in which every sequence stands alone
    step      a training step against TRL's; needs torch and trl
    logprobs  token log-probabilities in chunks of the vocabulary against dense ones
    images    preparing and encoding images against transformers
    rewards   grading answers against comparing every one of them anew
    startup   compiling deep and shallow models, and what is compiled already
    data      preparing rows against what a run consumes

`--json` writes the results. `--check` compares the ratios with those of
docs/performance/results.json and exits with 1 if one of them is 15 % worse. A benchmark without its
packages is passed over, unless it is named. On a machine with other load, `--cpu` reads the time
that the process computes in place of the wall clock, for benchmarks of a single process; those of
`rewards` and `data` have several and always read the wall clock.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.harness import Case, Json, Options, Unavailable, pin, worse

COMMITTED = Path(__file__).parent.parent / "docs" / "performance" / "results.json"
BENCHES = ("rollout", "update", "step", "logprobs", "images", "rewards", "startup", "data")

Run = Callable[[Options], Iterable[Case]]


def main(
    arguments: Sequence[str] | None = None,
    *,
    benches: Mapping[str, Run] | None = None,
    pin: Callable[[int], None] = pin,
) -> int:
    """Runs the command; ``benches`` stand in for the modules. Returns the exit status."""
    args = _parse(arguments)
    pin(args.core)
    options = Options(args.repeats, time.process_time if args.cpu else time.perf_counter)

    def keep(measured: Mapping[str, Mapping[str, Json]]) -> None:
        if args.json:
            args.json.write_text(json.dumps(measured, indent=2) + "\n")

    measured, missing = measure(args.names or BENCHES, options, benches, keep)
    found = worse(measured, json.loads(args.committed.read_text())) if args.check else []
    for line in found:
        print(f"worse: {line}")
    if args.check and not found:
        print(f"no ratio is worse than in {args.committed}")
    return int(bool(found or (args.names and missing)))


def measure(
    names: Sequence[str],
    options: Options,
    benches: Mapping[str, Run] | None,
    keep: Callable[[Mapping[str, Mapping[str, Json]]], None],
) -> tuple[dict[str, dict[str, Json]], list[str]]:
    """The cases of each benchmark, and the benchmarks that cannot run.

    They are printed as they come, and ``keep`` gets all so far: what is interrupted is not lost.
    """
    measured: dict[str, dict[str, Json]] = {}
    missing = []
    for name in names:
        run = benches[name] if benches else importlib.import_module(f"benchmarks.{name}").run
        try:
            for case in run(options):
                measured.setdefault(name, {})[case.name] = case.as_json()
                print(*case.lines(), sep="\n", flush=True)
                keep(measured)
        except Unavailable as error:
            print(f"{name}: not measured: {error}", file=sys.stderr)
            missing.append(name)
    return measured, missing


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios")
    parser.add_argument("--core", type=int, default=0, help="the core that everything runs on")
    parser.add_argument("--cpu", action="store_true", help="count processor time of the process")
    parser.add_argument("--repeats", type=int, help="turns of every side")
    parser.add_argument("--committed", type=Path, default=COMMITTED, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.names if name not in BENCHES]:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(BENCHES)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
