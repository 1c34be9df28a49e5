"""The console of a run: what it is doing, how far it is, and what it has to say."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Self, TextIO

from tqdm import tqdm

from perl_jax.legible import legible
from perl_jax.training.display.compilations import CompilationWatch

_SECONDS_BETWEEN_LINES = 30.0
_LINES_OF_A_RUN = 10
_SECONDS_BETWEEN_DRAWINGS = 0.1
_TICK_SECONDS = 0.5
# Shorter compilations are not worth a line.
_ANNOUNCED_SECONDS = 1.0
_BAR = "{desc} |{bar}| {percentage:3.0f}% {elapsed}{postfix}"

# The parts of a step that are shown, if it has them: metric, label, format.
_SHOWN = (
    ("reward/mean", "reward", ".3f"),
    ("reward/accuracy", "accuracy", ".3f"),
    ("supervised/loss", "loss", ".4f"),
    ("supervised/likely", "likely", ".3f"),
    ("perf/tokens_per_second", "tokens/s", ",.0f"),
)
_DROPPED = {
    "filter/too_easy": "too easy",
    "filter/too_hard": "too hard",
    "filter/unscored": "unscored",
}


class Console(AbstractContextManager["Console"]):
    """Shows a run on a stream: a bar that lives in a terminal, or else lines now and then.

    Without a terminal, lines come for every tenth of the run, and after 30 seconds of silence. A
    compilation of more than a second is announced, and its time told. Everything that is shown is
    made `legible`. It is an `Activity`: call it with what the run is doing.

    Args:
        total_steps: Steps of the whole run.
        enabled: False shows nothing but warnings.
        host: A name put before warnings, for a host that is not alone; None: no name.
        stream: The output; by default standard error.
        clock: Gives seconds.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        enabled: bool = True,
        host: str | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._total, self._enabled, self._host, self._clock = total_steps, enabled, host, clock
        self._activity, self._shown = "", dict[str, str]()
        self._first = self._step = 0
        self._left: float | None = None
        self._bar: tqdm[None] | None = None
        self._drawn = self._last_line = clock()
        self._watch = CompilationWatch(clock, self._compiled)
        self._announced = ""
        self._began = (clock(), 0.0)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick_until_ended, daemon=True)

    def __enter__(self) -> Self:
        if self._enabled:
            self._watch.__enter__()
            self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, what: str, done: int = 0, of: int = 0) -> None:
        """Shows what the run is doing; see `perl_jax.activity.Activity`."""
        if self._enabled:
            with self._lock:
                self._activity = f"{what} {done:,} of {of:,}" if of else what
                self._draw()

    def begin(self, step: int) -> None:
        """Says that the run takes its next step after ``step`` steps; time left counts from here.

        The bar appears with the first call.
        """
        with self._lock:
            self._first = self._step = step
            self._began = (self._clock(), self._watch.seconds)
            if self._enabled and self._bar is None and self._stream.isatty():
                self._bar = tqdm(
                    total=self._total,
                    initial=step,
                    bar_format=_BAR,
                    file=self._stream,
                    dynamic_ncols=True,
                )
                self._draw(now=True)

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that ``step`` steps of the run are done, with the metrics of the last one.

        A metric that is missing keeps the value shown before.
        """
        if not self._enabled:
            return
        with self._lock:
            before, self._step = self._step, step
            for name, label, form in _SHOWN:
                if name in metrics:
                    self._shown[label] = format(metrics[name], form)
            if "filter/kept" in metrics:
                self._shown["kept"] = groups_kept(metrics)
            self._shown |= _rows_left_out(metrics)
            start, compiled = self._began
            seconds = self._clock() - start - (self._watch.seconds - compiled)
            self._left = seconds * (self._total - step) / max(step - self._first, 1)
            if self._bar is not None:
                self._bar.n = step
            if self._line_is_due(before):
                self._write_step()
            self._draw(now=True)

    def say(self, text: str) -> None:
        """Writes a line; in a terminal it stands above the bar."""
        if self._enabled:
            self._write(text)

    def close(self) -> None:
        """Ends the bar. Lines can still be written."""
        if not self._ended.is_set():
            self._ended.set()
            if self._ticker.is_alive():
                self._ticker.join()
                self._watch.__exit__()
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    @contextmanager
    def logging_of(self, name: str) -> Iterator[None]:
        """Shows what a logger says as lines of this console, and nowhere else, within the block.

        If the console is not enabled, only warnings are shown.
        """
        log = logging.getLogger(name)
        handler, propagates = _Lines(self), log.propagate
        log.addHandler(handler)
        log.propagate = False
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.propagate = propagates

    def log(self, record: logging.LogRecord) -> None:
        """Shows a log record as a line, above the level of information even if not enabled."""
        text = record.getMessage()
        if record.levelno > logging.INFO:
            host = "" if self._host is None else f"{self._host}: "
            self._write(f"{host}{record.levelname.lower()}: {text}")
        else:
            self.say(text)

    def tick(self) -> None:
        """Shows what has changed with time alone; called twice a second."""
        with self._lock:
            name = self._watch.name
            if self._watch.under_way > _ANNOUNCED_SECONDS and self._announced != name:
                self._announced = name
                self.say(f"compiling {name}")
            quiet = self._clock() - self._last_line >= _SECONDS_BETWEEN_LINES
            if self._bar is None and quiet and self._activity:
                self.say(self._doing())
            self._draw(now=True)

    def _tick_until_ended(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            self.tick()

    def _compiled(self, name: str, seconds: float) -> None:
        with self._lock:
            if seconds > _ANNOUNCED_SECONDS:
                self.say(f"compiled {name} in {seconds:.1f} s")
                self._draw(now=True)
            self._announced = ""

    def _doing(self) -> str:
        activity = self._activity
        if self._watch.under_way > _ANNOUNCED_SECONDS:
            activity = f"compiling {self._watch.name}"
        return f"step {min(self._step + 1, self._total)} of {self._total}: {activity}"

    def _draw(self, *, now: bool = False) -> None:
        """Draws the bar, at most ten times a second."""
        time_of_it = self._clock()
        if self._bar is None or not (now or time_of_it - self._drawn >= _SECONDS_BETWEEN_DRAWINGS):
            return
        self._drawn = time_of_it
        left = [] if self._left is None else [f"{tqdm.format_interval(self._left)} left"]
        shown = [f"{label} {value}" for label, value in self._shown.items()]
        self._bar.set_description_str(legible(self._doing()), refresh=False)
        self._bar.set_postfix_str(", ".join(left + shown), refresh=False)
        self._bar.refresh()

    def _line_is_due(self, before: int) -> bool:
        last, now = (step * _LINES_OF_A_RUN // self._total for step in (before, self._step))
        return last < now or self._clock() - self._last_line >= _SECONDS_BETWEEN_LINES

    def _write_step(self) -> None:
        shown = "".join(f"  {label} {value}" for label, value in self._shown.items())
        left = tqdm.format_interval(self._left or 0.0)
        self.say(f"step {self._step}/{self._total}{shown}  {left} left")

    def _write(self, text: str) -> None:
        with self._lock:
            self._last_line = self._clock()
            tqdm.write(legible(text), file=self._stream)
            self._stream.flush()


class _Lines(logging.Handler):
    """Passes log records to a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record; a message that cannot be formatted is reported as logging does it."""
        try:
            self._console.log(record)
        except Exception:
            self.handleError(record)


def _rows_left_out(metrics: Mapping[str, float]) -> dict[str, str]:
    """The rows of the data that were left out since the run began, where there are any."""
    counts = {
        kind: sum(value for name, value in metrics.items() if name.startswith(f"{kind}/"))
        for kind in ("skipped", "filtered")
    }
    return {f"rows {kind}": f"{count:,.0f}" for kind, count in counts.items() if count}


def groups_kept(metrics: Mapping[str, float]) -> str:
    """The groups of a step that were kept, of how many, and why the others were dropped."""
    dropped = [f"{metrics[name]:,.0f} {why}" for name, why in _DROPPED.items() if metrics.get(name)]
    kept = f"{metrics['filter/kept']:,.0f} of {metrics['filter/drawn']:,.0f}"
    return f"{kept} ({', '.join(dropped)})" if dropped else kept
