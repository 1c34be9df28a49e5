"""What the scorers of all benchmarks read of a response first."""

from perl_jax.rewards import last_boxed

_END = "</think>"
_BEGIN = "<think>"


def final(response: str) -> str:
    r"""What a response says in the end: the text that the rules of a benchmark read.

    Thoughts are cut at the last ``</think>``; the last ``\boxed{}`` of what is left is opened. A
    response that never leaves its thoughts, or is cut off in its last box, says nothing.
    """
    said = response.rpartition(_END)[2]
    if _BEGIN in said:
        return ""
    box = last_boxed(said)
    return said.strip() if box.problem == "no_box" else box.text
