"""Files and directories are whole or not there, one process holds a lock, logs go back in time."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from perl_jax import files
from perl_jax.files import (
    LockError,
    ResumableLog,
    lock,
    whole_directory,
    whole_file,
    write_whole,
)
from tests.full_disk import full_disk

ROOT = Path(__file__).parents[1]
OLD, NEW = b"old" * 1000, b"new" * 70_000
TEMPORARY = re.compile(r"\.(target|data)\.[0-9a-f]{16}\.(partial|replaced)")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def running(code, *arguments):
    """A process that runs Python; it is killed when the block ends, however that ends."""
    imports = "import os, sys, time; from pathlib import Path; from perl_jax.files import *\n"
    command = [sys.executable, "-W", "ignore", "-c", imports + code, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def kill_in(code, *arguments):
    """Runs Python that prints a line and then waits, and kills it there."""
    with running(code, *arguments) as child:
        assert child.stdout.readline() == "now\n"
    assert child.returncode == -signal.SIGKILL


def fail_after(written):
    raise KeyError


WAIT = "print('now', flush=True); time.sleep(600)\n"


# Files.


def test_a_file_has_its_content_and_the_mode_of_any_other(tmp_path):
    write_whole(tmp_path / "target", "é\u2028\n")
    assert (tmp_path / "target").read_bytes() == "é\u2028\n".encode()
    write_whole(tmp_path / "target", b"\xff\x00")
    assert (tmp_path / "target").read_bytes() == b"\xff\x00"
    (tmp_path / "other").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("target", "other")}
    assert len(modes) == 1
    assert names(tmp_path) == ["other", "target"]


def test_while_a_file_is_written_the_old_one_is_there(tmp_path):
    (tmp_path / "target").write_bytes(OLD)
    with whole_file(tmp_path / "target") as file:
        file.write(NEW)
        file.flush()
        assert (tmp_path / "target").read_bytes() == OLD
        (unfinished,) = set(names(tmp_path)) - {"target"}
        assert TEMPORARY.fullmatch(unfinished)
    assert (tmp_path / "target").read_bytes() == NEW


def test_no_two_writers_have_one_temporary_name(tmp_path):
    with whole_file(tmp_path / "target") as one, whole_file(tmp_path / "target") as other:
        assert len(names(tmp_path)) == 2
        one.write(b"one")
        other.write(b"other")
    assert (tmp_path / "target").read_bytes() == b"one"  # the block that ended last


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 16)
    (tmp_path / ".target.0000000000000000.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "target", NEW)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("before", [None, OLD])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, before):
    if before is not None:
        (tmp_path / "target").write_bytes(before)
    there = names(tmp_path)
    with pytest.raises(KeyError), whole_file(tmp_path / "target") as file:
        fail_after(file.write(NEW))
    with full_disk(10_000), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "target", NEW)
    assert names(tmp_path) == there
    assert before is None or (tmp_path / "target").read_bytes() == before


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    (tmp_path / "target").write_bytes(OLD)
    kill_in(
        "with whole_file(sys.argv[1]) as file:\n"
        f"    file.write(b'x' * 100_000); file.flush(); {WAIT}",
        tmp_path / "target",
    )
    assert (tmp_path / "target").read_bytes() == OLD


def test_readers_never_see_a_part_whenever_the_writer_is_killed(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"\0" * 50_000)
    code = """
print('now', flush=True)
for n in range(1, 10**9):
    write_whole(sys.argv[1], bytes([n % 256]) * (50_000 + n % 256))
"""
    with running(code, target) as child:
        assert child.stdout.readline() == "now\n"
        seen = set()
        for read in range(10_000):
            content = target.read_bytes()
            assert set(content) == {content[0]}
            assert len(content) == 50_000 + content[0]
            seen.add(content[0])
            if len(seen) >= 20 and read % 7 == 0:
                break
    content = target.read_bytes()
    assert content == bytes([content[0]]) * (50_000 + content[0])


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == NEW


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    read, write = os.pipe()
    write_whole(f"/dev/fd/{write}", b"through")
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"through"
    assert Path("/dev/stdout").exists()


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        told.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def replaced(source, target):
        told.append(f"-> {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(files.os, "replace", replaced)
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 16)
    write_whole(tmp_path / "target", NEW)
    partial = ".target.0000000000000000.partial"
    assert told == [partial, "-> target", tmp_path.name]
    told.clear()
    with whole_directory(tmp_path / "data") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "file").write_bytes(NEW)
    partial = ".data.0000000000000000.partial"
    assert sorted(told[:3]) == sorted(["inner", "file", partial])
    assert told[3:] == ["-> data", tmp_path.name]


# Directories.


def fill(directory, content):
    for name in ("a", "b"):
        (directory / name).write_bytes(content)


def assert_holds(directory, content):
    assert names(directory) == ["a", "b"]
    assert {(directory / name).read_bytes() for name in ("a", "b")} == {content}


def test_a_directory_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "data"
    with whole_directory(target) as directory:
        fill(directory, NEW)
        assert not target.exists()
        assert directory.parent == target.parent
        assert TEMPORARY.fullmatch(directory.name)
    assert_holds(target, NEW)
    assert names(target.parent) == ["data"]


def test_what_holds_something_is_not_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    fill(tmp_path / "full", OLD)
    (tmp_path / "empty").mkdir()
    for name in ("file", "full"):
        match = f"{tmp_path / name}: expected a new or empty directory"
        with pytest.raises(FileExistsError, match=match), whole_directory(tmp_path / name):
            pytest.fail("entered")
    with whole_directory(tmp_path / "empty") as directory:
        fill(directory, NEW)
    assert_holds(tmp_path / "empty", NEW)
    assert_holds(tmp_path / "full", OLD)


@pytest.mark.parametrize("replace", [False, True])
def test_an_error_leaves_the_old_directory_and_nothing_else(tmp_path, replace):
    if replace:
        (tmp_path / "data").mkdir()
        fill(tmp_path / "data", OLD)
    there = names(tmp_path)
    with pytest.raises(KeyError), whole_directory(tmp_path / "data", replace=replace) as directory:
        fail_after(fill(directory, NEW))
    with (
        full_disk(1_000),
        pytest.raises(OSError, match="File too large"),
        whole_directory(tmp_path / "data", replace=replace) as directory,
    ):
        fill(directory, NEW)
    assert names(tmp_path) == there
    if replace:
        assert_holds(tmp_path / "data", OLD)


def test_a_directory_takes_the_place_of_another(tmp_path):
    (tmp_path / "data").mkdir()
    fill(tmp_path / "data", OLD)
    with whole_directory(tmp_path / "data", replace=True) as directory:
        fill(directory, NEW)
        assert_holds(tmp_path / "data", OLD)
    assert_holds(tmp_path / "data", NEW)
    assert names(tmp_path) == ["data"]


REPLACING = """
data = Path(sys.argv[1]) / "data"
stop_at = int(sys.argv[2])
import perl_jax.files as files
calls, replace = [], os.replace
def counted(source, target):
    calls.append(target)
    if len(calls) == stop_at: print('now', flush=True); time.sleep(600)
    replace(source, target)
files.os.replace = counted
if stop_at == 3:
    files.shutil.rmtree = lambda *args, **settings: (print('now', flush=True), time.sleep(600))
with lock(sys.argv[1], "workdir"), whole_directory(data, replace=True) as directory:
    for name in ("a", "b"): (directory / name).write_bytes(b"new" * 70_000)
    if stop_at == 0: print('now', flush=True); time.sleep(600)
"""


# While it is filled, before either rename, and while the old one is removed.
@pytest.mark.parametrize(("stop_at", "content"), [(0, OLD), (1, OLD), (2, OLD), (3, NEW)])
def test_whenever_it_is_killed_the_next_holder_finds_the_old_or_the_new(tmp_path, stop_at, content):
    (tmp_path / "data").mkdir()
    fill(tmp_path / "data", OLD)
    kill_in(REPLACING, tmp_path, stop_at)
    assert len(names(tmp_path)) > 2 or stop_at == 2
    with lock(tmp_path, "workdir"):
        assert_holds(tmp_path / "data", content)
        assert names(tmp_path) == [".lock", "data"]


# Locks.


@pytest.mark.reliability("F10")
def test_a_lock_removes_what_was_left_unfinished_and_nothing_else(tmp_path):
    others = [".data.partial", ".x.0123456789abcde.partial", "data.0123456789abcdef.partial", "a"]
    for name in others:
        (tmp_path / name).write_text("")
    (tmp_path / ".file.0123456789abcdef.partial").write_text("")
    (tmp_path / ".data.0123456789abcdef.partial" / "deep").mkdir(parents=True)
    with lock(tmp_path, "workdir"):
        assert names(tmp_path) == sorted([".lock", *others])


def test_two_processes_one_lock_and_its_holder_is_named_until_it_dies(tmp_path):
    with running(f"with lock(sys.argv[1], 'workdir'): {WAIT}", tmp_path) as child:
        assert child.stdout.readline() == "now\n"
        left = tmp_path / ".data.0123456789abcdef.partial"
        left.write_text("")
        holder = f"process {child.pid} on {socket.gethostname()}"
        with pytest.raises(LockError) as caught, lock(tmp_path, "workdir"):
            pytest.fail("entered")
        assert str(caught.value) == (
            f"workdir {tmp_path}: in use by {holder}; stop that job or use another directory"
        )
        assert left.exists()
    with lock(tmp_path, "workdir"):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on " + (
            socket.gethostname()
        )


def test_a_child_does_not_keep_the_lock_of_a_parent_that_ended(tmp_path):
    code = (
        "child = None\n"
        "with lock(sys.argv[1], 'workdir'):\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(600)\n"
        "    print('now', child, flush=True)\n"
        "os._exit(0)\n"
    )
    with running(code, tmp_path) as parent:
        child = int(parent.stdout.readline().split()[1])
        parent.wait()
        try:
            with lock(tmp_path, "workdir"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


# Logs.


TEXT = "first\u2028second\u2029third\x85 \N{LATIN SMALL LETTER E WITH ACUTE}"


def write(path, steps, last):
    log = ResumableLog(path, "step")
    log.take_back(last)
    for step in steps:
        log.add(step, {"text": TEXT})


def steps_in(path):
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert all(row["text"] == TEXT for row in rows)
    assert rows == list(ResumableLog(path, "step").rows())
    return [row["step"] for row in rows]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def test_a_row_is_a_line_of_json_that_is_there_at_once(path):
    log = ResumableLog(path, "place")
    log.add(3, {"row": "é \ud800", "score": None})
    assert path.read_bytes() == '{"place": 3, "row": "é \\ud800", "score": null}\n'.encode()
    assert list(log.rows()) == [{"place": 3, "row": "é \ud800", "score": None}]


def test_rows_that_are_written_again_are_taken_back(path):
    write(path, [1, 2, 3], -1)
    write(path, [3, 4], 2)
    assert steps_in(path) == [1, 2, 3, 4]


def test_a_run_that_starts_anew_keeps_none(path):
    write(path, [1, 2], -1)
    write(path, [1], -1)
    assert steps_in(path) == [1]


def test_the_first_row_of_a_log_that_was_not_taken_back_takes_back_its_like(path):
    write(path, [1, 2, 3], -1)
    log = ResumableLog(path, "step")
    for step in (2, 5):
        log.add(step, {"text": TEXT})
    assert steps_in(path) == [1, 2, 5]


def test_values_are_added_to_a_row_that_is_there(path):
    write(path, [1, 2, 3], -1)
    log = ResumableLog(path, "step")
    log.amend(2, {"score": 0.5})
    rows = list(log.rows())
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[1] == {"step": 2, "text": TEXT, "score": 0.5}
    assert [rows[0], rows[2]] == [{"step": step, "text": TEXT} for step in (1, 3)]


def test_a_log_is_set_aside_under_the_first_free_number(path):
    log = ResumableLog(path, "step")
    log.set_aside()
    for number in (1, 2):
        log.add(number, {"text": TEXT})
        log.set_aside()
    assert not path.exists()
    assert [steps_in(path.with_name(f"log.{number}.jsonl")) for number in (1, 2)] == [[1], [2]]


def test_taking_back_makes_no_file_and_reading_needs_one(path):
    log = ResumableLog(path, "step")
    log.take_back(7)
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        list(log.rows())


# The line feed alone, between characters, and within one.
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_line_that_was_cut_off_is_left_out_wherever_it_ends(path, cut):
    write(path, [1, 2], -1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    write(path, [3], 2)
    assert steps_in(path) == ([1, 2, 3] if cut == 1 else [1, 3])


def test_what_is_no_row_is_passed_over_and_taken_back(path):
    good = b'{"step": 1, "a":   NaN}\n'
    path.write_bytes(b'\n[1]\n7\n{"a": 1}\n{"step": "1"}\n\xff\xfe\n\0\0\0\0\n' + good + b'{"st')
    log = ResumableLog(path, "step")
    assert [row["step"] for row in log.rows()] == [1]
    log.take_back(1)
    assert path.read_bytes() == good  # as it was written


@pytest.mark.reliability("F4")
def test_a_full_disk_leaves_the_log_without_a_part_of_a_line(path):
    write(path, [1], -1)
    whole = path.read_bytes()
    log = ResumableLog(path, "step")
    log.take_back(1)
    with full_disk(len(whole) + 20), pytest.raises(OSError, match=f"File too large: '{path}'"):
        log.add(2, {"text": TEXT})
    assert path.read_bytes() == whole
    log.add(2, {"text": TEXT})
    assert steps_in(path) == [1, 2]


def test_a_full_disk_leaves_the_log_that_cannot_be_taken_back(path):
    write(path, range(100), -1)
    whole = path.read_bytes()
    with full_disk(100), pytest.raises(OSError, match=f"File too large: '{path}'"):
        ResumableLog(path, "step").take_back(50)
    assert path.read_bytes() == whole
    assert names(path.parent) == [path.name]


@pytest.mark.reliability("F19")
def test_killed_while_it_writes_a_log_loses_no_row_that_was_told(path):
    code = """
log = ResumableLog(Path(sys.argv[1]), "step")
for step in range(10**9):
    log.add(step, {"text": "x" * 10_000})
    print(step, flush=True)
"""
    with running(code, path) as child:
        for line in child.stdout:
            if (told := int(line)) >= 30:
                break
    log = ResumableLog(path, "step")
    steps = [row["step"] for row in log.rows()]
    assert steps == list(range(len(steps)))
    assert len(steps) > told
    log.take_back(told)
    assert [row["step"] for row in log.rows()] == list(range(told + 1))
