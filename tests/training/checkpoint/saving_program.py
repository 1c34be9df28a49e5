"""A program that does one job in a child of itself for each line that it reads.

Children share what the program imported, so that many can be killed in little time. They tell what
they do on standard output, and the program tells how they ended.
"""

import os
import resource
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import jax

from perl_jax.files import LockError
from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.workdir import Preemption, lock_workdir
from tests.training.checkpoint.checkpoint_states import (
    FINGERPRINT,
    abstract,
    assert_same,
    host,
    simple_state,
)

KEEP_TWO = CheckpointConfig(every=1, keep_last=2, keep_best=1)


def tell(*words) -> None:
    # One write, so that the lines of parent and child do not mix.
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def open_at(directory, config=KEEP_TWO):
    return Checkpoints(directory, config, fingerprint=FINGERPRINT)


def save(checkpoints, step: int) -> None:
    checkpoints.save(step, simple_state(step), host(step), metric=-abs(step % 7 - 3))


def save_without_end(directory: str) -> None:
    """Resumes, and saves step after step until somebody kills it."""
    with open_at(directory) as checkpoints:
        restored = checkpoints.restore(abstract(simple_state(0)))
        step = restored.step if restored else 0
        if restored:
            assert_same(restored.arrays, simple_state(step))
            assert restored.host == host(step)
        tell("resumed", step)
        while True:
            step += 1
            save(checkpoints, step)
            # The one before is complete now: this one waited for it.
            tell("complete", step - 1)


def stop_when_asked(directory: str) -> None:
    """Trains until it is asked to stop, and then saves, whatever signals come meanwhile.

    It saves five times at least, and until it is told that there were signals enough.
    """
    with Preemption() as preemption, open_at(directory) as checkpoints:
        tell("running")
        step = 0
        while not preemption.requested:
            step += 1
            time.sleep(0.001)
        last = step + 4
        while step <= last or not Path(directory, "enough").exists():
            save(checkpoints, step)
            checkpoints.wait()
            step += 1
        tell("saved", preemption.received.name, *checkpoints.steps())


def hold(directory: str) -> None:
    parent = os.getppid()
    try:
        with lock_workdir(directory):
            tell("locked")
            while os.getppid() == parent:
                time.sleep(0.01)
    except LockError as error:
        tell("refused", error)


@contextmanager
def full_disk(room: int):
    """Files may not grow beyond so many bytes, which fails as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@contextmanager
def no_permission(directory: str):
    """Nothing may be written to the directory, even if this process belongs to root."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        os.chmod(directory, 0o555)
        yield
        os.chmod(directory, 0o755)


def attempt(action, *arguments) -> None:
    try:
        tell("done", action(*arguments))
    except CheckpointError as error:
        tell("failed", error)


def fail_and_recover(directory: str, room: str, asynchronous: str) -> None:
    """A save with little room, or without permission, between two good ones."""
    config = CheckpointConfig(every=1, keep_last=2, asynchronous=asynchronous == "True")
    with open_at(directory, config) as checkpoints:
        save(checkpoints, 1)
        checkpoints.wait()
        with full_disk(int(room)) if room else no_permission(directory):
            attempt(save, checkpoints, 2)
            attempt(checkpoints.wait)
        tell("steps", checkpoints.steps())
        assert_same(checkpoints.restore(abstract(simple_state(0))).arrays, simple_state(1))
        save(checkpoints, 2)
        checkpoints.wait()
        tell("steps", checkpoints.steps())


def fail_at(directory: str, call: str) -> None:
    """A save fails in the background; then one call is made."""
    checkpoints = open_at(directory, CheckpointConfig(every=3))
    checkpoints.save(1, simple_state(1), {}, force=True)
    checkpoints.wait()
    with full_disk(1_000):
        checkpoints.save(2, simple_state(2), {}, force=True)
        while checkpoints._files.busy:
            time.sleep(0.001)
    calls = {
        "save": lambda: checkpoints.save(3, simple_state(3), {}),
        "save of a step that is not due": lambda: checkpoints.save(4, simple_state(4), {}),
        "steps": checkpoints.steps,
        "latest_step": checkpoints.latest_step,
        "best_step": checkpoints.best_step,
        "restore": lambda: checkpoints.restore(abstract(simple_state(0))),
        "wait": checkpoints.wait,
        "close": checkpoints.close,
    }
    attempt(calls[call])
    attempt(checkpoints.steps)
    checkpoints.close()


JOBS = (save_without_end, stop_when_asked, hold, fail_and_recover, fail_at)


def main() -> None:
    jobs = {job.__name__: job for job in JOBS}
    for line in sys.stdin:
        name, *arguments = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            # Told by the child, so that it comes before whatever else the child tells.
            tell("child", os.getpid())
            try:
                jax.config.update("jax_platforms", "cpu")
                jobs[name](*arguments)
            except BaseException:
                tell("error", traceback.format_exc().replace("\n", " | "))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        tell("ended", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
