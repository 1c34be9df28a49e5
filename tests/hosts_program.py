"""One of two hosts that meet: ``PORT INDEX SCENARIO``."""

import os
import signal
import sys
import time

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from perl_jax import hosts

PORT, INDEX, SCENARIO = sys.argv[1], int(sys.argv[2]), sys.argv[3]
LONG = 600


def meet():
    assert hosts.gather({"host": INDEX}, "numbers") == [{"host": 0}, {"host": 1}]
    data = bytes([INDEX]) * 1000 * (1 + INDEX)
    assert hosts.gather_bytes(data, "data") == [bytes(1000), bytes([1]) * 2000]
    assert hosts.gather_bytes(b"", "nothing") == [b"", b""]
    done = []
    hosts.once(lambda: done.append(INDEX), "once")
    assert done == ([0] if INDEX == 0 else [])
    assert hosts.is_main() == (INDEX == 0)
    hosts.check_same({"config": "a", "data": "b"}, "the run")
    with pytest.raises(hosts.HostsError, match="data: expected the same on all hosts; host 0"):
        hosts.check_same({"config": "a", "data": f"b{INDEX}"}, "the run")
    large = "x" * 5_000_000
    assert hosts.gather(large, "much") == [large, large]


def late():
    hosts.gather(None, "first")
    hosts.set_deadline(2.0)
    if INDEX == 1:
        time.sleep(LONG)
    hosts.gather(None, "the end of step 3")


def elsewhere():
    hosts.gather(None, "rewards" if INDEX else "the end of step 3")


def raises():
    hosts.gather(None, "first")
    if INDEX == 1:
        raise ValueError("a reward function failed on row 7")
    multihost_utils.process_allgather(np.zeros(1))


def killed():
    hosts.gather(None, "first")
    if INDEX == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    multihost_utils.process_allgather(np.zeros(1))


def echo():
    hosts.gather(None, "first")
    if INDEX == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise jax.errors.JaxRuntimeError("a collective: Connection closed by peer")


def killed_main():
    hosts.gather(None, "first")
    if INDEX == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONG)


def main() -> None:
    hosts.connect(coordinator=f"127.0.0.1:{PORT}", num_hosts=2, host=INDEX, heartbeat_seconds=10)
    with hosts.end_together():
        globals()[SCENARIO]()
    print("done")


main()
