"""One job per work directory, fingerprints that see every change, and signals that only ask."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import perl_jax
from perl_jax.files import LockError
from perl_jax.training.workdir import (
    Preemption,
    fingerprint_of_code,
    fingerprint_of_config,
    lock_workdir,
)


def test_the_directory_is_made_and_holds_a_note_of_its_holder(tmp_path):
    with lock_workdir(tmp_path / "runs" / "first") as directory:
        assert directory == tmp_path / "runs" / "first"
        note = (directory / ".lock").read_text()
    assert note == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_cannot_be_taken_twice_but_again(tmp_path):
    (tmp_path / "other name").symlink_to(tmp_path / "run")
    for _ in range(2):
        with lock_workdir(tmp_path / "run"):
            for name in ("run", "other name"):
                with (
                    pytest.raises(
                        LockError, match=f"in use by this process, process {os.getpid()}"
                    ),
                    lock_workdir(tmp_path / name),
                ):
                    pass
            with lock_workdir(tmp_path / "another run"):
                pass


def test_a_failed_block_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), lock_workdir(tmp_path):
        raise KeyError
    with lock_workdir(tmp_path):
        pass


def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with (
            pytest.raises(LockError, match=rf"workdir {path}: expected a directory to write to"),
            lock_workdir(path),
        ):
            pass


def test_a_url_is_refused_with_where_buckets_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match=r"gs://b/x: expected a local dir.*checkpoint\.directory"),
        lock_workdir("gs://b/x"),
    ):
        pass
    assert not list(tmp_path.iterdir())


# Of processes of their own: threads of other tests share this one's user and its limits.
WITHOUT_PERMISSION = """
import os, sys
from perl_jax.files import LockError
from perl_jax.training.workdir import lock_workdir
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    with lock_workdir(sys.argv[1]):
        print("locked")
except LockError as error:
    print(error)
"""
WITHOUT_ROOM = """
import resource, sys
from perl_jax.files import LockError
from perl_jax.training.workdir import lock_workdir
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
try:
    with lock_workdir(sys.argv[1]):
        said = "locked"
except LockError as error:
    said = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print(said)
"""


@pytest.mark.reliability("56")
@pytest.mark.parametrize(
    ("program", "cause"),
    [(WITHOUT_PERMISSION, "Permission denied"), (WITHOUT_ROOM, "File too large")],
)
def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path, program, cause):
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o500 if "Permission" in cause else 0o700)
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", program, str(run)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert cause in said
    assert str(run) in said
    with lock_workdir(run):
        pass


CONFIG = {"seed": 1, "model": {"layers": 2, "rates": [0.1, 0.2], "name": None, "frozen": True}}


def test_a_fingerprint_of_a_config_does_not_depend_on_order_or_kind_of_sequence():
    other = {
        "model": {"frozen": True, "name": None, "rates": (0.1, 0.2), "layers": 2},
        "seed": 1,
    }
    assert fingerprint_of_config(CONFIG) == fingerprint_of_config(other)
    text = '{"model":{"frozen":true,"layers":2,"name":null,"rates":[0.1,0.2]},"seed":1}'
    assert fingerprint_of_config(CONFIG) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"seed": 1.0},
        {"seed": "1"},
        {"new": None},
        {"model": {}},
        {"model": {**CONFIG["model"], "rates": [0.2, 0.1]}},
        {"model": {**CONFIG["model"], "rates": [0.1, 0.20000000000000004]}},
        {"model": {**CONFIG["model"], "frozen": 1}},
        {"model": {**CONFIG["model"], "name": "null"}},
    ],
    ids=str,
)
def test_a_fingerprint_of_a_config_changes_with_every_entry(change):
    assert fingerprint_of_config({**CONFIG, **change}) != fingerprint_of_config(CONFIG)


@pytest.mark.parametrize(
    "value", [{1, 2}, Path("x"), object(), lambda: 0], ids=["set", "path", "object", "function"]
)
def test_a_config_that_json_cannot_hold_has_no_fingerprint(value):
    with pytest.raises(ValueError, match="config: expected what JSON can hold"):
        fingerprint_of_config({"entry": value})


def test_a_fingerprint_of_the_code_changes_with_content_and_names(tmp_path, monkeypatch):
    def fingerprint(files):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        monkeypatch.setattr(perl_jax, "__file__", str(root / "__init__.py"))
        return fingerprint_of_code()

    files = {"__init__.py": b"", "a.py": b"1", "b/c.py": b"2"}
    original = fingerprint(files)
    assert fingerprint(dict(reversed(files.items()))) == original
    assert fingerprint({**files, "notes.txt": b"3", "b/__pycache__/c.pyc": b"4"}) == original
    changes = [
        {**files, "b/c.py": b"3"},
        {**files, "b/d.py": b""},
        {"__init__.py": b"", "a.py": b"1", "b/d.py": b"2"},
        {"__init__.py": b"", "a.py": b"2", "b/c.py": b"1"},
        {"__init__.py": b"", "a.py": b"1"},
    ]
    assert len({original, *map(fingerprint, changes)}) == 6


def test_a_fingerprint_of_the_code_is_that_of_this_package():
    assert fingerprint_of_code() == fingerprint_of_code()
    assert len(fingerprint_of_code()) == 64


def handlers():
    return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)


def test_any_number_of_sigterms_is_one_request():
    before = handlers()
    with Preemption() as preemption:
        assert (preemption.requested, preemption.agreed()) == (False, False)
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            assert preemption.received is signal.SIGTERM
        assert (preemption.requested, preemption.agreed()) == (True, True)
    assert handlers() == before


def test_the_first_interrupt_asks_and_the_second_interrupts():
    # Whatever started the tests may have it ignored.
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = handlers()
    with Preemption() as preemption:
        signal.raise_signal(signal.SIGINT)
        assert preemption.received is signal.SIGINT
        signal.raise_signal(signal.SIGTERM)
        assert preemption.received is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert preemption.requested
    assert handlers() == before
    signal.signal(signal.SIGINT, original)


def test_handlers_of_others_come_back():
    seen = []
    original = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Preemption():
            signal.raise_signal(signal.SIGTERM)
        assert seen == []
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, original)


def test_signals_are_received_by_the_main_thread_only():
    caught = []

    def enter():
        try:
            with Preemption():
                pass
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert caught == ["Preemption: expected the main thread, which receives signals"]


WAITING = """
import signal, sys, time
# Whatever started the tests may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from perl_jax.training.workdir import Interrupted, Preemption
with Preemption(answers=True) as preemption:
    preemption.finishing = "step 12"
    try:
        with preemption.interruptible():
            print("ready", flush=True)
            # As a run that writes to the same stream now and then; it ends by itself after minutes.
            for _ in range(30000):
                print(".", end="", file=sys.stderr)
                time.sleep(0.005)
    except Interrupted as error:
        print(f"error: {error}", flush=True)
"""


def test_each_interrupt_of_a_real_process_is_answered_at_once(tmp_path):
    with (tmp_path / "stderr").open("wb+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        with process:
            assert process.stdout.readline() == "ready\n"
            for number, answer in (
                (signal.SIGTERM, b"\nasked to stop by SIGTERM: finishing step 12\n"),
                (signal.SIGINT, b"\nfinishing step 12, again to stop now\n"),
            ):
                process.send_signal(number)
                while answer not in (tmp_path / "stderr").read_bytes():
                    assert process.poll() is None
                    time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            (line,) = process.stdout.readlines()
    assert process.returncode == 0
    assert line == (
        "error: stopped at once, in step 12; the same command goes on from the last checkpoint\n"
    )


def test_a_request_is_answered_once_and_only_if_it_is_wanted(capfd):
    for answers in (True, False):
        with Preemption(answers=answers) as preemption:
            preemption.finishing = "step 3"
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == "\nasked to stop by SIGTERM: finishing step 3\n"


def test_an_interrupt_that_nobody_asked_for_twice_passes():
    with Preemption() as preemption, pytest.raises(KeyboardInterrupt), preemption.interruptible():
        raise KeyboardInterrupt
