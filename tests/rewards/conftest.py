"""What the tests of grading share: one grader for all, and a look at this process's descendants."""

from pathlib import Path

import pytest

from perl_jax.rewards import Grader


@pytest.fixture(scope="session")
def grader():
    """For answers that are graded at all, however busy the machine is."""
    with Grader(num_workers=2, deadline=120.0) as made:
        yield made


@pytest.fixture(scope="session")
def impatient():
    """For answers that nobody can wait for."""
    with Grader(num_workers=2, deadline=1.0) as made:
        yield made


@pytest.fixture
def descendants():
    """Returns the ids of all living processes below a given one."""
    return _descendants


def _descendants(process_id):
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    found = {process_id}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process_id}
