"""What all fuzzing shares: how much is tried, and what may come of hostile input.

The outcome is a valid result, or the documented exception with a message of one line that names
where the input came from; never another exception, never a hang, never gigabytes.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# `make soak` sets it. Examples are then drawn at random instead of always the same.
PROFILE = os.environ.get("PERL_JAX_FUZZ", "quick")
# No single input takes a second; a busy machine may take long for one.
_SECONDS = 30.0
# The name of a field may be long; values are cut.
_LONGEST_MESSAGE = 4000
_MOST_BYTES = 2**29


def cases(quick: int, soak: int) -> int:
    """How many cases are tried, in the suite and in a soak, where more only make one surer."""
    return {"quick": quick, "soak": soak}[PROFILE]


def fuzz(examples: int) -> settings:
    """Settings for so many examples in the suite, and for many times as many in a soak."""
    return settings(
        max_examples=cases(examples, 100 * examples),
        derandomize=PROFILE == "quick",
        database=None,
        deadline=None,  # `bounded` ends what hangs
        suppress_health_check=list(HealthCheck),
    )


class Hangs(BaseException):
    """An input takes too long; nothing that catches exceptions may catch it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raises `Hangs` in the block after 30 s, and AssertionError if it took half a gigabyte."""

    def stop(*_: object) -> None:
        raise Hangs(f"no end after {_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    most = _most_memory(anew=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    grown = _most_memory() - most
    assert grown < _MOST_BYTES, f"one input took {grown / 2**20:.0f} MiB"


def _most_memory(anew: bool = False) -> int:
    """The most bytes that this process has held; on Linux, since it was last asked ``anew``."""
    if sys.platform != "linux":
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if anew:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def outcome(
    call: Callable[[], Any], *documented: type[Exception], where: str = "", lines: int = 1
) -> Any:
    """The result of a call, or None after a documented exception with a good message.

    Args:
        call: What is tried.
        documented: The exceptions that its documentation names.
        where: What every message must hold.
        lines: The most lines of a message.
    """
    with bounded():
        try:
            return call()
        except documented as error:
            text = str(error)
            assert where in text, f"it does not name {where}: {text!r}"
            assert text.count("\n") < lines, f"more than a line: {text!r}"
            assert 0 < len(text) <= _LONGEST_MESSAGE * lines, f"{len(text)} characters"
            return None


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([
        "", " ", "\x00", "\ud800", "\u202e", "\n", "..", "/", "../../x", "a" * 3000, "1e999",
        "-0", "9" * 5000, "NaN", "null", "<image>", "{{ x }}", "__import__('os')", "%s", "🙂",
    ]),
)  # fmt: skip

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400]),
    st.floats(),
    TEXTS,
)

JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@st.composite
def changed(draw: Any, value: Any, changes: int = 3) -> Any:
    """A JSON value in which a few places hold something else, are missing, or are new."""
    for _ in range(draw(st.integers(1, changes))):
        value = _changed(draw, value)
    return value


def _changed(draw: Any, value: Any) -> Any:
    """The value with one change somewhere below it."""
    inside = isinstance(value, dict | list) and value
    if not inside or draw(st.integers(0, 3)) == 0:
        if isinstance(value, dict) and draw(st.booleans()):
            return {**value, draw(TEXTS): draw(JSON)}
        return draw(JSON)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        if draw(st.integers(0, 3)) == 0:
            return [*value[:place], *value[place + 1 :]]
        return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]
    name = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 3)) == 0:
        return {key: inner for key, inner in value.items() if key != name}
    return {**value, name: _changed(draw, value[name])}


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes with some flipped, cut off, repeated or put between."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[place] = draw(st.integers(0, 255))
            case 1:
                del data[place:]
            case 2:
                data[place:place] = draw(st.binary(max_size=9))
            case _:
                data[place:place] = data[place : place + 16]
    return bytes(data)


def elapsed(call: Callable[[], Any]) -> float:
    """The seconds of processor time that a call takes."""
    began = time.process_time()
    call()
    return time.process_time() - began
