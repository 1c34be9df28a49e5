"""Plans of single programs: the bytes that they move."""

import pytest

from perl_jax.planning.planner import PlanConfig, make_plan
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from tests.planning.conftest import WORKLOAD


@pytest.fixture(scope="module")
def planned(config, mesh):
    names = ("resize", "compact", "apply")
    request = PlanConfig(config, parse_topology("cpu:8"), WORKLOAD, Assumptions(), programs=names)
    found = {one.name: one for one in make_plan(request, list(mesh.devices.flat)).programs}
    assert set(found) == set(names)
    return found


def test_the_optimizer_reads_and_writes_what_it_keeps(planned):
    memory = planned["apply"].memory
    moved = 2 * (memory["parameters"] + memory["optimizer"]) + memory["gradients"]
    # Beside them there are a few counters and statistics.
    assert planned["apply"].traffic == pytest.approx(moved, rel=0.01)


def test_caches_that_grow_or_shrink_are_read_and_written(planned):
    memory = planned["compact"].memory
    moved = memory["caches"] + memory["results"]
    assert planned["compact"].traffic == pytest.approx(moved, rel=0.01)
    # What stays as it is, beside the caches of responses, is not read.
    memory = planned["resize"].memory
    assert memory["results"] < planned["resize"].traffic < memory["caches"] + memory["results"]


def test_the_policy_stays_while_caches_move(planned):
    stays = {"parameters", "optimizer", "reference", "features", "caches"}
    assert stays <= set(planned["resize"].memory)
