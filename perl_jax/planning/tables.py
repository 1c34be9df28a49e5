"""Formats a plan as text."""

from collections.abc import Sequence

from perl_jax.chips import GIB
from perl_jax.planning.collectives import merged
from perl_jax.planning.plan import Plan, Rates

# The number of collectives shown for each program: those that send most.
_SHOWN = 3
# The width, in characters, of a shape and of its place in the program.
_WIDTH = 56
# In the order of the table.
_KINDS = (
    "parameters", "frozen", "optimizer", "reference", "copy", "gradients", "caches", "features",
    "batch", "other", "results", "temporaries",
)  # fmt: skip


def as_text(plan: Plan) -> str:
    """Formats a plan as text."""
    chip, mesh = plan.topology.chip, " ".join(f"{k}={v}" for k, v in plan.mesh.items())
    blocks = [
        [plan.command],
        [
            f"{plan.model} on {plan.topology.name}: {plan.topology.in_words()} of "
            f"{chip.memory / GIB:.0f} GiB, {plan.usable / GIB:.1f} usable; mesh {mesh}",
            *plan.step,
            *plan.notes,
        ],
        *([["Filtering", *plan.filtering]] if plan.filtering else []),
        ["Memory of a chip while a program runs, GiB", *_memory_table(plan)],
        ["Time, and what a chip does in a call on average", *_time_table(plan)],
        *([["Rates", *_rates(plan.rates)]] if plan.rates else []),
        ["Collectives that send most: bytes received by a chip in a call", *_collectives(plan)],
        ["Assumptions", *(f"- {line}" for line in plan.assumptions)],
        _verdict(plan),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _memory_table(plan: Plan) -> list[str]:
    kinds = [kind for kind in _KINDS if any(kind in one.facts.memory for one in plan.programs)]
    rows = [["", *kinds, "total", ""]]
    for program in plan.programs:
        sizes = [program.facts.memory.get(kind) for kind in kinds]
        cells = ["" if size is None else f"{size / GIB:.3g}" for size in sizes]
        over = "too large" if program.name in plan.too_large else ""
        rows.append([program.name, *cells, f"{program.total / GIB:.3g}", over])
    return _aligned(rows)


def _time_table(plan: Plan) -> list[str]:
    """Where the compiler expects no cycles, as for GPUs, there is no column for them."""
    is_known = any(one.expected is not None for one in plan.programs)
    rows = [
        ["", "calls", "TFLOP", "HBM GB", "links GB", "compute s", "its HBM s", "its links s",
         "more HBM s", "more links s", "step s", "expected s", "bound by", "compiled in s"],
    ]  # fmt: skip
    for one in plan.programs:
        seconds, refused = one.seconds, one.facts.refused
        links = f"{one.received / 1e9:.3g}", f"{seconds.ahead:.2g}", f"{seconds.links:.2g}"
        received, ahead, alone = ("?",) * 3 if refused else links
        rows.append(
            [
                one.name, f"{one.calls}", f"{one.flops / plan.topology.devices / 1e12:.3g}",
                f"{one.traffic / 1e9:.3g}", received, f"{seconds.compute:.2g}",
                f"{seconds.memory:.2g}", ahead, f"{seconds.alone:.2g}", alone,
                f"{one.seconds_of_step:.3g}", _seconds(one.expected), seconds.bound,
                f"{one.facts.compile_seconds:.0f}",
            ]
        )  # fmt: skip
    received = f"{plan.received_of_step / 1e9:.3g}"
    compiled = f"{sum(one.facts.compile_seconds for one in plan.programs):.0f}"
    rows.append(
        ["step", "", "", "", received, "", "", "", "", "", f"{plan.seconds_of_step:.3g}",
         _seconds(plan.expected_of_step), "", compiled]
    )  # fmt: skip
    if not is_known:
        column = rows[0].index("expected s")
        rows = [row[:column] + row[column + 1 :] for row in rows]
    return _aligned(rows)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g}"


def _rates(rates: Rates) -> list[str]:
    expected = rates.mfu_expected
    return [
        f"MFU, every image encoded once and every prompt read once: {rates.mfu:.1%} in a step, "
        f"{rates.mfu_of_update:.1%} in the update with its scores"
        + (f" ({expected:.1%} as the compiler expects)." if expected is not None else "."),
        f"Effective tokens a second and chip: {rates.tokens:,.0f} (prompts and responses of all "
        "rollouts that are kept, over the time of a step).",
        f"The update computes {rates.padding:.2f} tokens for each that it has to read.",
    ]


def _collectives(plan: Plan) -> list[str]:
    rows = []
    for program in plan.programs:
        most = merged(program.facts.collectives)[:_SHOWN]
        for one in most:
            size = f"{one.received / 1e9:.3f} GB"
            shape = _shortened(one.shape.split("{")[0].lstrip("("))
            rows.append(
                [
                    program.name,
                    size,
                    f"{one.count} x",
                    one.kind,
                    shape,
                    f"of {one.group}",
                    _shortened(one.where),
                ]
            )
    return _aligned(rows, left=(0, 3, 4, 5, 6)) if rows else ["none"]


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _verdict(plan: Plan) -> list[str]:
    largest = plan.largest
    used = f"{largest.name} needs {largest.total / GIB:.3g} of {plan.usable / GIB:.3g} GiB"
    if plan.fits:
        verdict = f"Verdict: fits. {used}; a step takes about {plan.seconds_of_step:.3g} s."
        return [verdict, *plan.advice]
    return [f"Verdict: does not fit: {', '.join(plan.too_large)}. {used}.", *plan.advice]


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
