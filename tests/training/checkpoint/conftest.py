"""Keeps what Orbax leaves behind in damaged steps from failing whichever test runs later.

Where one array cannot be read, Orbax closes its event loop while others are still being read. The
coroutines complain when they are collected, and TensorStore's threads when they find the loop
closed: some time later, which depends on how busy the machine is.
"""

import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def _abandoned_reads_do_not_complain():
    complain = sys.unraisablehook

    def unless_abandoned(unraisable):
        closed = str(unraisable.exc_value) == "Event loop is closed"
        if not closed and "_read_array_index_and_device_put" not in repr(unraisable.object):
            complain(unraisable)

    # It stays to the end: reads may be collected when the tests of this folder are done.
    sys.unraisablehook = unless_abandoned
