"""Freed memory goes back to the system."""

import ctypes
import subprocess
import sys

import pytest

# Every second one of many pieces is freed: glibc keeps them, as later ones are in use.
PROGRAM = """
import ctypes, os
from perl_jax.host_memory import give_back_memory

def held():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
pieces = [malloc(60_000) for _ in range(2000)]
for piece in pieces:
    ctypes.memset(piece, 1, 60_000)
for piece in pieces[::2]:
    free(piece)
before = held()
give_back_memory()
print(before - held())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="another C library than glibc",
)
def test_what_was_freed_between_what_is_in_use_is_given_back():
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    # Half of 120 MB.
    assert int(said) > 40_000_000
