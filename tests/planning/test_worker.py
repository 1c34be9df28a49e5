"""A plan of a process of its own; what the process does is scripted."""

import json
import sys

import pytest

from perl_jax.planning import worker
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.worker import plan_in_a_process
from tests.planning.conftest import WORKLOAD

# It tells on its way, and answers with more than any pipe holds.
LONG = """
import json, sys
sys.stdin.buffer.read()
print("plan: compiling update", file=sys.stderr)
print("not the answer")
print(json.dumps({"plan": {}, "text": "x" * 3_000_000}))
"""
FAILS = "import sys; sys.stdin.buffer.read(); sys.exit('fsdp: expected a divisor of 8')"


@pytest.fixture
def answers(config, monkeypatch):
    """Plans by a program."""

    def run(program):
        monkeypatch.setattr(worker, "_COMMAND", [sys.executable, "-c", program])
        return plan_in_a_process(
            PlanConfig(config, parse_topology("cpu:8"), WORKLOAD, Assumptions())
        )

    return run


def test_an_answer_may_be_longer_than_a_pipe_holds(answers, caplog):
    caplog.set_level("INFO", logger="perl_jax")
    answer = answers(LONG)
    assert json.dumps(answer)[-10:] == 'xxxxxxxx"}'
    assert len(answer["text"]) == 3_000_000
    assert caplog.messages == ["compiling update"]


def test_a_process_that_fails_is_told_by_its_last_line(answers):
    with pytest.raises(RuntimeError, match=r"^fsdp: expected a divisor of 8$"):
        answers(FAILS)
