"""Processes that are killed, told to stop, or refused disk space while they save."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from tests.training.checkpoint.checkpoint_states import (
    FINGERPRINT,
    abstract,
    assert_same,
    host,
    simple_state,
)

ROOT = Path(__file__).parents[3]


class Program:
    """A running ``saving_program``."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.checkpoint.saving_program"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.watchdog = threading.Timer(1200, self.process.kill)
        self.watchdog.start()

    def start(self, job: str, *arguments) -> int:
        """Starts a job in a child, whose process id it returns."""
        self.process.stdin.write("\t".join([job, *map(str, arguments)]) + "\n")
        self.process.stdin.flush()
        return int(self.until("child")[-1].split()[1])

    def until(self, word: str) -> list[str]:
        """The lines up to one that begins with a word."""
        lines = []
        while not lines or not lines[-1].startswith(word):
            lines.append(self.process.stdout.readline().rstrip("\n"))
            assert lines[-1], "the program ended"
            assert not lines[-1].startswith("error"), lines[-1]
        return lines

    def run(self, job: str, *arguments) -> list[str]:
        """What a job tells until it ends by itself."""
        self.start(job, *arguments)
        lines = self.until("ended")
        assert lines.pop() == "ended 0"
        return lines

    def close(self) -> None:
        self.watchdog.cancel()
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def program():
    program = Program()
    yield program
    program.close()


def restore(directory):
    checkpoints = Checkpoints(directory, CheckpointConfig(every=1), fingerprint=FINGERPRINT)
    return checkpoints.restore(abstract(simple_state(0)))


def assert_is_step(restored, step):
    assert (restored.step, restored.host) == (step, host(step))
    assert_same(restored.arrays, simple_state(step))


@pytest.mark.reliability("F1", "F2", "F3")
def test_whenever_it_is_killed_the_last_complete_step_is_there_bit_by_bit(program, tmp_path):
    moments = random.Random(7)
    complete = 0
    for _ in range(8):
        child = program.start("save_without_end", tmp_path)
        # The child itself compares what it resumes from with what belongs to that step.
        lines = program.until("resumed")
        assert int(lines[-1].split()[1]) >= complete
        for _ in range(moments.randrange(2, 5)):
            lines += program.until("complete")
        time.sleep(moments.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        lines += program.until("ended")
        assert lines[-1] == f"ended {-signal.SIGKILL}"
        complete = max(int(line.split()[1]) for line in lines if line.startswith("complete"))
        restored = restore(tmp_path)
        # One more may have been complete before it was told, and a second one just then.
        assert complete <= restored.step <= complete + 2
        assert_is_step(restored, restored.step)
    assert complete >= 8


def test_a_process_killed_before_its_first_step_is_complete_starts_anew(program, tmp_path):
    (tmp_path / "1.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    child = program.start("save_without_end", tmp_path)
    assert program.until("resumed")[-1] == "resumed 0"
    program.until("complete 2")
    os.kill(child, signal.SIGKILL)
    program.until("ended")
    assert not (tmp_path / "1.orbax-checkpoint-tmp").exists()


@pytest.mark.reliability("F17")
def test_a_save_survives_any_number_of_sigterms(program, tmp_path):
    child = program.start("stop_when_asked", tmp_path)
    program.until("running")
    told = []
    listener = threading.Thread(target=lambda: told.extend(program.until("ended")))
    os.kill(child, signal.SIGTERM)
    listener.start()
    sent = 1
    while not any(line.startswith("saved") for line in told) and listener.is_alive():
        try:
            os.kill(child, signal.SIGTERM)
        except ProcessLookupError:
            break
        sent += 1
        if sent > 20:
            (tmp_path / "enough").touch()
        time.sleep(0.002)
    listener.join()
    saved = next(line for line in told if line.startswith("saved")).split()
    assert saved[1] == "SIGTERM"
    last = int(saved[-1])
    assert sent > 20
    assert_is_step(restore(tmp_path), last)


@pytest.mark.reliability("F4", "F5")
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize(
    ("room", "cause"),
    [("1000", "File too large"), ("10", "File too large"), ("", "Permission denied")],
)
def test_without_room_or_permission_a_save_fails_and_the_old_step_stays(
    program, tmp_path, room, cause, asynchronous
):
    lines = program.run("fail_and_recover", tmp_path / "c", room, asynchronous)
    (failure,) = [line for line in lines if line.startswith("failed")]
    assert re.match(r"failed step 2 could not be saved in .*; older steps are still", failure)
    assert cause in failure
    assert [line for line in lines if line.startswith("steps")] == ["steps [1]", "steps [1, 2]"]
    assert_is_step(restore(tmp_path / "c"), 2)


@pytest.mark.parametrize(
    "call",
    [
        "save",
        "save of a step that is not due",
        "steps",
        "latest_step",
        "best_step",
        "restore",
        "wait",
        "close",
    ],
)
def test_a_failure_in_the_background_is_raised_by_the_next_call_and_once(program, tmp_path, call):
    first, second = program.run("fail_at", tmp_path / "c", call)
    assert first.startswith("failed step 2 could not be saved in")
    assert "File too large" in first
    assert second == "done [1]"


@pytest.mark.reliability("F15")
def test_of_two_processes_one_has_the_directory_and_its_death_frees_it(program, tmp_path):
    child = program.start("hold", tmp_path)
    program.until("locked")
    other = Program()
    (refusal,) = other.run("hold", tmp_path)
    assert refusal.startswith(f"refused workdir {tmp_path}: in use by process {child} on ")
    os.kill(child, signal.SIGKILL)
    program.until("ended")
    heir = other.start("hold", tmp_path)
    other.until("locked")
    os.kill(heir, signal.SIGKILL)
    other.until("ended")
    other.close()
