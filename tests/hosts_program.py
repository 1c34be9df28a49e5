"""Pairs of hosts that meet, each in a scenario of its own: ``DIRECTORY SCENARIO...``.

What a host says is in the file SCENARIO-INDEX of the directory, its exit status in that with
``.status``. Hosts are forks of a process that has imported everything, which takes seconds.
"""

import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from perl_jax import hosts
from perl_jax.compilation import CompilationConfig, use_cache
from perl_jax.mesh import BatchSharding, make_mesh

INDEX = 0
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


def replicates():
    sharding = BatchSharding.of(make_mesh(jax.device_count()))
    hosts.gather(None, "first")
    if INDEX == 1:
        # The other host does not come to this.
        array = sharding.replicate(np.arange(6).reshape(2, 3))
        assert array.sharding == sharding.replicated
        for piece in array.addressable_shards:
            assert piece.data.tolist() == [[0, 1, 2], [3, 4, 5]]
    hosts.gather(None, "last")


def keeps_no_program():
    assert jax.config.jax_compilation_cache_dir
    use_cache(CompilationConfig(cache="auto"))
    assert jax.config.jax_compilation_cache_dir is None


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


def host(port: int, scenario: str) -> None:
    hosts.connect(coordinator=f"127.0.0.1:{port}", num_hosts=2, host=INDEX, heartbeat_seconds=10)
    with hosts.end_together():
        globals()[scenario]()
    print("done")


def start(port: int, index: int, scenario: str, file: Path) -> int:
    """The number of the process of a host."""
    global INDEX
    if process := os.fork():
        return process
    INDEX = index
    output = os.open(file, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        host(port, scenario)
        # As at the end of a process: neither leaves while the other still asks it.
        jax.distributed.shutdown()
        status = 0
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main(directory: str, *scenarios: str) -> None:
    files = {}
    for scenario in scenarios:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for index in range(2):
            file = Path(directory) / f"{scenario}-{index}"
            files[start(port, index, scenario, file)] = file
    while files:
        process, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        files.pop(process).with_suffix(".status").write_text(str(code))


main(*sys.argv[1:])
