r"""Reinforcement learning for vision-language models that reason over several images.

    perl-jax COMMAND --help      tells what a command does, and lists its flags

Examples:
    perl-jax train --config=demo --workdir=runs/demo
    perl-jax train --config=configs/qwen2_5_vl_3b_gpu.py --workdir=runs/mine \
        --config.data.train.parquet.paths="('rows.parquet',)" --config.seed=1
    perl-jax lint --data=rows.parquet
    perl-jax generate --model=runs/mine/export --prompt="<image> What is it?" --image=a.png
"""

import importlib
import sys
from collections.abc import Sequence

from perl_jax.legible import suggestion

# The modules are imported when their command runs: importing all of them takes seconds.
COMMANDS = {
    "train": ("perl_jax.train", "train a policy by reinforcement learning"),
    "warmstart": ("perl_jax.warmstart", "train a policy on given responses"),
    "generate": ("perl_jax.generate", "ask a model questions about images"),
    "evaluate": ("perl_jax.evaluate", "score a policy, or given responses, on benchmarks"),
    "export": ("perl_jax.export", "write a checkpoint of a run as a Hugging Face directory"),
    "plan": ("perl_jax.plan", "tell memory and time of a run on chips that are not at hand"),
    "report": ("perl_jax.report", "write a page about a run, with its rollouts"),
    "check": ("perl_jax.check", "find what would make a launch fail, before chips are asked for"),
    "lint": ("perl_jax.data.lint", "count the rows that can be permuted, and those that are bad"),
    "show": ("perl_jax.data.show", "write a page that shows rows and their permutation"),
    "build": ("perl_jax.data.build", "build a published data set for training"),
    "prepare": ("perl_jax.data.prepare", "filter, rephrase, deduplicate and split rows"),
}
"""By name: the module, whose ``main`` takes the arguments, and a summary."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("-h", "--help"):
        print(_help())
        return 0
    if not given or given[0] not in COMMANDS:
        print(_wrong(given), file=sys.stderr)
        return 2
    # As with ``python -m``, the reward functions and configurations of the working directory are
    # found by their module's name.
    if "" not in sys.path:
        sys.path.insert(0, "")
    module, _ = COMMANDS[given[0]]
    return importlib.import_module(module).main(given[1:]) or 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"    {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    first, rest = (__doc__ or "").strip().split("\n\n", 1)
    return f"usage: perl-jax COMMAND [flags]\n\n{first}\n\ncommands:\n{rows}\n\n{rest}"


def _wrong(given: Sequence[str]) -> str:
    usage = "usage: perl-jax COMMAND [flags]; perl-jax --help lists the commands"
    got = f"got {given[0]!r}{suggestion(given[0], COMMANDS)}" if given else "got none"
    return f"{usage}\nperl-jax: error: expected one of {', '.join(COMMANDS)}; {got}"


if __name__ == "__main__":
    sys.exit(main())
