"""The progress bar of a run, and the table at its end."""

import sys
import time
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 30.0
_LINES_OF_A_RUN = 10

# The parts of a step that are shown, if it has them: metric, label, format.
_SHOWN = (
    ("reward/mean", "reward", ".3f"),
    ("reward/accuracy", "accuracy", ".3f"),
    ("supervised/loss", "loss", ".4f"),
    ("supervised/likely", "likely", ".3f"),
    ("perf/tokens_per_second", "tokens/s", ",.0f"),
)


class ProgressBar:
    """A progress bar; if the output is not a terminal, an occasional line.

    Lines come every 30 seconds, every tenth of the run, and at its end.

    Args:
        total_steps: Steps of the whole run.
        initial_step: Steps done before.
        enabled: False shows nothing.
        stream: The output; by default standard error.
        clock: Gives seconds.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        initial_step: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._total, self._initial, self._step = total_steps, initial_step, initial_step
        self._enabled = enabled
        self._clock = clock
        self._start = self._last_line = clock()
        self._shown: dict[str, str] = {}
        self._bar = tqdm(
            total=total_steps,
            initial=initial_step,
            desc="training",
            unit="step",
            file=self._stream,
            dynamic_ncols=True,
            disable=not (enabled and self._stream.isatty()),
        )

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that ``step`` steps of the run are done, with the metrics of the last one.

        A metric that is missing keeps the value shown before.
        """
        if not self._enabled:
            return
        before, self._step = self._step, step
        for name, label, form in _SHOWN:
            if name in metrics:
                self._shown[label] = format(metrics[name], form)
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(step - before)
        if self._bar.disable and self._line_is_due(before):
            self._write_line()

    def write(self, text: str) -> None:
        """Writes a separate line above the bar."""
        if self._enabled:
            self._bar.write(text, file=self._stream)
            self._stream.flush()

    def close(self) -> None:
        """Ends the bar."""
        self._enabled = False
        self._bar.close()

    def _line_is_due(self, before: int) -> bool:
        last, now = (step * _LINES_OF_A_RUN // self._total for step in (before, self._step))
        return last < now or self._clock() - self._last_line >= _SECONDS_BETWEEN_LINES

    def _write_line(self) -> None:
        self._last_line = self._clock()
        seconds = self._last_line - self._start
        done = max(self._step - self._initial, 1)
        shown = "".join(f"  {label} {value}" for label, value in self._shown.items())
        left = tqdm.format_interval(seconds * (self._total - self._step) / done)
        self.write(f"step {self._step}/{self._total}{shown}  {left} left")


def final_table(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """A table of the changes that a run made, as plain text.

    Each name in either mapping has a row: before, after, and the difference; ``-`` for a missing
    value.
    """
    rows = [["", "before", "after", "change"]]
    for name in dict.fromkeys([*before, *after]):
        values = [_shown_number(numbers.get(name)) for numbers in (before, after)]
        both = name in before and name in after
        change = _shown_number(after[name] - before[name], "+") if both else "-"
        rows.append([name, *values, change])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _shown_number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return format(value, f"{sign}d" if isinstance(value, Integral) else f"{sign}.3f")
