"""Gives memory that was freed back to the system."""

import ctypes
import sys


def give_back_memory() -> None:
    """Gives back what was freed in pieces between others, which glibc keeps for itself.

    Every step allocates arrays of other sizes in many threads, so that the pieces that are kept
    grow slowly, for days. It takes milliseconds; with another C library it does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
