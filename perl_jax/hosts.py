"""The hosts of a run: how they find each other, agree, and end together.

Hosts meet before everything that all of them must do alike. A meeting is on the hosts' side,
through the coordination service of JAX's runtime, and has a deadline: a host that does not come is
named, where a collective of the devices would hang or, worse, mix up two different ones.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from perl_jax.settings import Checked, Expects, Positive

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = "perl_jax"
_FAILURE = f"{_PREFIX}/failure"
# How often a host looks whether another one failed. The main one, which has what all look at, waits
# longer before it goes.
_POLL_SECONDS = 1.0
_LAST_WORDS_SECONDS = 5.0
_MAX_CAUSE = 2000


class HostsError(RuntimeError):
    """Another host is late, is somewhere else in the program, or differs from this one."""


@dataclass(frozen=True)
class HostsConfig(Checked):
    """How long hosts wait for each other.

    Attributes:
        deadline: Seconds that the others may be late at a meeting. Meetings come before every
            rollout, after every reward and at the end of every step, so it must be longer than the
            slowest host's preparation of a batch.
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
    """Joins the other hosts, before anything else of JAX is used; does nothing on a single one.

    Args:
        distributed: ``auto`` joins where the environment says that there are others (see
            `expects_others`) or a coordinator is given; ``on`` always, leaving it to JAX to find
            the cluster (Cloud TPU, Slurm, Open MPI, Kubernetes); ``off`` never.
        coordinator: ``address:port`` of host 0, where JAX cannot find it.
        num_hosts: How many there are; with ``coordinator``.
        host: The number of this one; with ``coordinator``.
        heartbeat_seconds: After so much silence a host counts as dead, and all end.
        connect_seconds: How long to wait for the others to come.

    Raises:
        ValueError: Some of coordinator, num_hosts and host are given and some are not, or with
            ``off``; or ``distributed`` is none of the three.
        HostsError: What the environment says is not enough.
    """
    if distributed not in ("auto", "on", "off"):
        raise ValueError(f"distributed: expected one of auto, on, off; got {distributed!r}")
    explicit = {"coordinator": coordinator, "num_hosts": num_hosts, "host": host}
    given = [name for name, value in explicit.items() if value is not None]
    if given and len(given) < len(explicit):
        missing = ", ".join(name for name in explicit if name not in given)
        raise ValueError(f"{', '.join(given)}: expected {missing} too")
    if given and distributed == "off":
        raise ValueError("coordinator: expected --distributed=auto or on with it; got off")
    if host is not None and num_hosts is not None and not 0 <= host < num_hosts:
        raise ValueError(f"host: expected 0 to {num_hosts - 1}; got {host}")
    if distributed == "off" or not (given or distributed == "on" or expects_others(os.environ)):
        return
    place = coordinator or "what the environment says"
    # Told before, since JAX ends the process itself where the coordinator does not answer.
    print(f"joining the other hosts by {place}, for at most {connect_seconds} s", file=sys.stderr)
    # JAX would take every SIGTERM for itself from here on, and one that comes before a run listens
    # (`Preemption`), as while a large model loads, would be lost. There is nothing to save then.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_hosts,
            host,
            initialization_timeout=connect_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            # One host may export a large model while the others are done.
            shutdown_timeout_seconds=1800,
        )
    except (RuntimeError, ValueError) as error:
        raise HostsError(f"distributed: cannot join the other hosts by {place}: {error}") from error


def expects_others(environment: os._Environ[str] | dict[str, str]) -> bool:
    """Whether the environment of a process says that it is one of several."""
    counts = ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    several = any(
        environment.get(name, "").isdigit() and int(environment[name]) > 1 for name in counts
    )
    # Slurm sets its variables in the shell of a job, too, which is no task of it.
    several &= "SLURM_NTASKS" not in environment or "SLURM_PROCID" in environment
    workers = environment.get("TPU_WORKER_HOSTNAMES", "")
    return several or "," in workers or "JAX_COORDINATOR_ADDRESS" in environment


class _Meetings:
    """Counts the meetings of this process; all hosts must hold the same ones in the same order."""

    def __init__(self) -> None:
        self.number = 0
        self.deadline = HostsConfig().deadline


_meetings = _Meetings()


def set_deadline(seconds: float) -> None:
    """How long the meetings of this process wait from now on."""
    _meetings.deadline = seconds


def is_main() -> bool:
    """Whether this host is the one that writes what is written once."""
    return jax.process_index() == 0


def gather(value: Any, what: str) -> list[Any]:
    """The JSON-able values of all hosts, by host, on each of them.

    Args:
        value: Of this host; at most a few megabytes of JSON.
        what: What is told, in a word or two: all hosts must be at the same.

    Raises:
        HostsError: A host did not come before the deadline, or came for something else.
    """
    if jax.process_count() == 1:
        return [value]
    rows = _meet(json.dumps([what, value]).encode(), what)
    told = [json.loads(row) for row in rows]
    for host, (other, _) in enumerate(told):
        if other != what:
            raise HostsError(
                f"this host, {jax.process_index()}, is at {what!r}; host {host} is at {other!r}"
            )
    return [value for _, value in told]


def gather_bytes(data: bytes, what: str) -> list[bytes]:
    """As `gather`, of any amount of data: it goes over the network of the devices."""
    if jax.process_count() == 1:
        return [data]
    sizes = gather(len(data), what)
    # A power of two, so that few lengths are compiled.
    padded = np.zeros(1 << max(sizes).bit_length(), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def check_same(values: dict[str, str], what: str) -> None:
    """Raises HostsError, on every host, where a value is not the same on all of them."""
    told = gather(values, what)
    for host, other in enumerate(told):
        for name in sorted(told[0].keys() | other.keys()):
            if other.get(name) != told[0].get(name):
                raise HostsError(
                    f"{what}: {name}: expected the same on all hosts; host 0 has "
                    f"{told[0].get(name)!r}, host {host} has {other.get(name)!r}"
                )


def once(action: Callable[[], T], what: str) -> None:
    """Does something on the main host, while the others wait for it."""
    if is_main():
        action()
    gather(None, what)


def _meet(data: bytes, what: str) -> list[bytes]:
    """Waits until all hosts are here; returns what each of them brought."""
    client, me = _client(), jax.process_index()
    number, _meetings.number = _meetings.number, _meetings.number + 1
    place = f"{_PREFIX}/meeting/{number}/"
    client.key_value_set_bytes(f"{place}{me}", data)
    try:
        client.wait_at_barrier(place, int(_meetings.deadline * 1000))
    except jax.errors.JaxRuntimeError as error:
        came = {int(key.rsplit("/", 1)[1]) for key, _ in client.key_value_dir_get_bytes(place)}
        late = [str(host) for host in range(jax.process_count()) if host not in came]
        if not late:
            raise
        raise HostsError(
            f"{what}: host {', '.join(late)} did not come within {_meetings.deadline:g} s "
            "(hosts.deadline): it is stuck, slow or gone"
        ) from error
    rows = {int(key.rsplit("/", 1)[1]): row for key, row in client.key_value_dir_get_bytes(place)}
    if number > 0:
        # All hosts came here, so none still reads what the last meeting left.
        client.key_value_delete(f"{_PREFIX}/meeting/{number - 1}/{me}")
    return [rows[host] for host in range(jax.process_count())]


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """What fails within the block ends all hosts, with an error that names the host and the cause.

    A process that merely raised would wait for the others as it leaves, and they for it. On a
    single host, exceptions pass.
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
        _fail(error)
    finally:
        done.set()
        watcher.join()


def _fail(error: BaseException) -> None:
    """Tells the other hosts, and ends this one."""
    host = f"host {jax.process_index()} ({socket.gethostname()})"
    traceback.print_exception(error)
    cause = f"{host}: {type(error).__name__}: {error}"[:_MAX_CAUSE]
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        # Fails where another host was first: then that is the cause, and this follows from it.
        _client().key_value_set(_FAILURE, cause)
    _exit(f"error: {cause}")


def _watch(done: threading.Event) -> None:
    """Ends this process when another one says that it failed, whatever this one waits for."""
    client = _client()
    while not done.wait(_POLL_SECONDS):
        # Not found, most of the time.
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
    # Not sys.exit: it would wait for the other hosts, and for threads of a library that hangs.
    os._exit(1)


def _client() -> Any:
    # JAX has no public name for it; its own multihost_utils use the same.
    from jax._src import distributed

    client = distributed.global_state.client
    assert client is not None
    return client
