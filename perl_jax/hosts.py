"""Lets the hosts of a run find each other, agree, and end together.

Hosts meet before everything that all of them must do alike. A meeting uses the coordination service
of JAX's runtime, not the devices, and has a deadline. So a missing host is named in an error; a
collective of the devices would instead hang, or mix up two different collectives.
"""

import contextlib
import itertools
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from perl_jax.legible import brief
from perl_jax.settings import Checked, Expects, Positive

_PREFIX = "perl_jax"
_FAILURE = f"{_PREFIX}/failure"
# The interval at which a host checks whether another one failed.
_POLL_SECONDS = 1.0
# The main host serves the failure message to the others, so it waits for them before it ends.
_LAST_WORDS_SECONDS = 5.0
# How much longer than a heartbeat's timeout the coordinator may need to say that a host is lost.
_LATE_WORD_SECONDS = 5.0
_MAX_CAUSE = 2000


class HostsError(RuntimeError):
    """Another host is late, is somewhere else in the program, or differs from this one."""


@dataclass(frozen=True)
class HostsConfig(Checked):
    """Settings for waiting on other hosts.

    Attributes:
        deadline: Seconds that a host may be late at a meeting. Hosts meet before every rollout,
            after every reward and at the end of every step, so the deadline must exceed the time
            that the slowest host takes to prepare a batch.
    """

    deadline: Annotated[Positive, Expects("a positive number of seconds")] = 600.0


def connect(
    distributed: str = "auto",
    *,
    coordinator: str | None = None,
    num_hosts: int | None = None,
    host: int | None = None,
    heartbeat_seconds: int = 30,
    connect_seconds: int = 300,
) -> None:
    """Joins the other hosts, before anything else of JAX is used; does nothing on a single host.

    Args:
        distributed: ``auto`` joins if the environment shows other hosts (see `expects_others`) or a
            coordinator is given; ``on`` always joins, and JAX finds the cluster (Cloud TPU, Slurm,
            Open MPI, Kubernetes); ``off`` never joins.
        coordinator: ``address:port`` of host 0, if JAX cannot find it; needs the next two.
        num_hosts: The number of hosts.
        host: The number of this host.
        heartbeat_seconds: A host that is silent for this long counts as dead, and all hosts end.
        connect_seconds: The longest time to wait for the other hosts.

    Raises:
        ValueError: The first four arguments do not fit together.
        HostsError: JAX cannot find or reach the other hosts.
    """
    given = _check_flags(distributed, coordinator, num_hosts, host)
    if distributed == "off" or not (given or distributed == "on" or expects_others(os.environ)):
        return
    place = coordinator or "what the environment says"
    # Printed first: JAX ends the process itself if the coordinator does not answer.
    print(f"joining the other hosts by {place}, for at most {connect_seconds} s", file=sys.stderr)
    # JAX's preemption service would catch every SIGTERM from here on, and lose one that comes
    # before the run listens (`Preemption`). Until then there is nothing to save.
    jax.config.update("jax_enable_preemption_service", False)
    global _heartbeat
    _heartbeat = heartbeat_seconds
    try:
        jax.distributed.initialize(
            coordinator,
            num_hosts,
            host,
            initialization_timeout=connect_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            # One host may still export a large model when the others are done.
            shutdown_timeout_seconds=1800,
        )
    except (RuntimeError, ValueError) as error:
        raise HostsError(f"distributed: cannot join the other hosts by {place}: {error}") from error


def _check_flags(
    distributed: str, coordinator: str | None, num_hosts: int | None, host: int | None
) -> bool:
    """Checks that `connect`'s arguments fit together; returns whether a coordinator is given."""
    if distributed not in ("auto", "on", "off"):
        raise ValueError(f"distributed: expected one of auto, on, off; got {brief(distributed)}")
    explicit = {"coordinator": coordinator, "num_hosts": num_hosts, "host": host}
    given = [name for name, value in explicit.items() if value is not None]
    if coordinator is None or num_hosts is None or host is None:
        if given:
            missing = ", ".join(name for name in explicit if name not in given)
            raise ValueError(f"{', '.join(given)}: expected {missing} too")
        return False
    if distributed == "off":
        raise ValueError("coordinator: expected --distributed=auto or on with it; got off")
    if not 0 <= host < num_hosts:
        raise ValueError(f"host: expected 0 to {num_hosts - 1}; got {host}")
    return True


def expects_others(environment: Mapping[str, str]) -> bool:
    """Whether the environment of a process shows that it is one of several."""
    counts = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    found = [environment.get(name, "") for name in counts]
    several = any(count.isdigit() and int(count) > 1 for count in found)
    # Slurm also sets its variables in the shell that starts a job, which is not one of its tasks.
    several &= "SLURM_NTASKS" not in environment or "SLURM_PROCID" in environment
    workers = environment.get("TPU_WORKER_HOSTNAMES", "")
    return several or "," in workers or "JAX_COORDINATOR_ADDRESS" in environment


# The number of the next meeting; all hosts must hold the same meetings in the same order.
_numbers = itertools.count()
_deadline = HostsConfig.deadline
# Seconds of silence after which the coordinator takes a host for lost.
_heartbeat = 30


def set_deadline(seconds: float) -> None:
    """Sets the deadline of this process's meetings from now on."""
    global _deadline
    _deadline = seconds


def is_main() -> bool:
    """Whether this is the host that writes the shared files."""
    return jax.process_index() == 0


def gather(value: Any, what: str) -> list[Any]:
    """Returns the values of all hosts, in host order, on every host.

    Args:
        value: The value of this host, at most a few megabytes of JSON.
        what: The name of the meeting, a word or two; it must be the same on all hosts.

    Raises:
        HostsError: A host missed the deadline, or came to another meeting.
    """
    if jax.process_count() == 1:
        return [value]
    told = [json.loads(row) for row in _meet(json.dumps([what, value]).encode(), what)]
    for host, (other, _) in enumerate(told):
        if other != what:
            raise HostsError(
                f"this host, {jax.process_index()}, is at {what!r}; host {host} is at {other!r}"
            )
    return [value for _, value in told]


def gather_bytes(data: bytes, what: str) -> list[bytes]:
    """Like `gather`, for any amount of data, which travels over the network of the devices."""
    if jax.process_count() == 1:
        return [data]
    sizes = gather(len(data), what)
    # Padded to a power of two, so that few lengths are compiled.
    padded = np.zeros(1 << max(sizes).bit_length(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def check_same(values: dict[str, str], what: str) -> None:
    """Raises HostsError, on every host, if a value is not the same on all hosts."""
    told = gather(values, what)
    for host, other in enumerate(told):
        for name in sorted(told[0].keys() | other.keys()):
            ours, theirs = told[0].get(name), other.get(name)
            if theirs != ours:
                raise HostsError(
                    f"{what}: {name}: expected the same on all hosts; host 0 has {ours!r}, "
                    f"host {host} has {theirs!r}"
                )


def once(action: Callable[[], object], what: str) -> None:
    """Runs an action on the main host, while the others wait for it."""
    if is_main():
        action()
    gather(None, what)


def _meet(data: bytes, what: str) -> list[bytes]:
    """Waits until all hosts are here; returns the data of each of them."""
    client, me, number = _client(), jax.process_index(), next(_numbers)
    place = f"{_PREFIX}/meeting/{number}/"

    def brought() -> dict[int, bytes]:
        found = client.key_value_dir_get_bytes(place)
        return {int(key.rsplit("/", 1)[1]): row for key, row in found}

    client.key_value_set_bytes(f"{place}{me}", data)
    try:
        client.wait_at_barrier(place, int(_deadline * 1000))
    except jax.errors.JaxRuntimeError as error:
        here = brought()
        late = [str(host) for host in range(jax.process_count()) if host not in here]
        if not late:
            raise
        raise HostsError(
            f"{what}: host {', '.join(late)} did not come within {_deadline:g} s "
            "(hosts.deadline): it is stuck, slow or gone"
        ) from error
    rows = brought()
    if number > 0:
        # All hosts came here, so none is still reading the data of the last meeting.
        client.key_value_delete(f"{_PREFIX}/meeting/{number - 1}/{me}")
    return [rows[host] for host in range(jax.process_count())]


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """Ends all hosts on an exception within the block; the error names the host and the cause.

    A process that only raised would wait for the others as it ends, and they would wait for it. On
    a single host, exceptions pass unchanged.
    """
    if jax.process_count() == 1:
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(done,), daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        traceback.print_exception(error)
        if isinstance(error, jax.errors.JaxRuntimeError):
            # A collective fails when another host ends. That host's own error, or the coordinator,
            # ends this process meanwhile, with the status of a lost host and not of an error.
            time.sleep(_heartbeat + _LATE_WORD_SECONDS)
        host = f"host {jax.process_index()} ({socket.gethostname()})"
        cause = f"{host}: {type(error).__name__}: {error}"[:_MAX_CAUSE]
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            # Fails if another host was first: then its error caused this one.
            _client().key_value_set(_FAILURE, cause)
        _exit(f"error: {cause}")
    finally:
        done.set()
        watcher.join()


def _watch(done: threading.Event) -> None:
    """Ends this process when another one reports a failure, even while this one is waiting."""
    client = _client()
    while not done.wait(_POLL_SECONDS):
        # Raises while there is no failure.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            cause = client.key_value_try_get(_FAILURE)
            if not cause.startswith(f"host {jax.process_index()} "):
                _exit(f"error: ended with the others, since {cause}")


def _exit(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    if is_main():
        time.sleep(_LAST_WORDS_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    # Not sys.exit: it would wait for other hosts, and for threads of a library that hangs.
    os._exit(1)


def _client() -> Any:
    # JAX has no public name for it; its own multihost_utils use this one.
    from jax._src import distributed

    client = distributed.global_state.client
    assert client is not None
    return client
