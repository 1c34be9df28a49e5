"""What the scorers of all benchmarks read of a response first."""

from perl_jax.rewards import last_boxed

_END = "</think>"
_BEGIN = "<think>"


def said(response: str) -> str:
    """A response without its thoughts, which are cut at the last ``</think>``.

    A response that never leaves its thoughts says nothing.
    """
    text = response.rpartition(_END)[2]
    return "" if _BEGIN in text else text.strip()


def boxed(response: str) -> str | None:
    r"""The last ``\boxed{}`` after the thoughts: empty if it is unusable, None without one."""
    box = last_boxed(said(response))
    return None if box.problem == "no_box" else box.text


def final(response: str) -> str:
    r"""What a response says in the end: the text that the rules of a benchmark read.

    Thoughts are cut at the last ``</think>``; the last ``\boxed{}`` of what is left is opened. A
    response that never leaves its thoughts, or is cut off in its last box, says nothing.
    """
    box = boxed(response)
    return said(response) if box is None else box
