"""The pool of processes: what it survives, what it leaves behind, and what it keeps apart."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from perl_jax.rewards import Grader, GradingError
from perl_jax.rewards.workers import Result, Task, WorkerPool
from tests.rewards.processes import alive, eventually

ENDLESS = Task((("9^{9^{9^{9}}}", "5"),))
EASY = [Task(((f"x+{n}", f"{n}+x"),)) for n in range(10)]
EQUAL = Result("equal")
MEMORY = 2 * 1024**3


@pytest.fixture(scope="module")
def pool():
    """One for all: whatever happened to it in a test, it recovers in the next."""
    made = WorkerPool(num_workers=2, deadline=300.0, memory_bytes=MEMORY)
    yield made
    made.close()


def seconds_of_work(process_id):
    """The processor time that a process has had."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interfere(pool, action, times=1):
    """Runs ``action(worker_id)`` beside the grading, whenever a worker is at an endless item."""
    before = {worker: seconds_of_work(worker) for worker in pool.process_ids()}

    def at_it():
        with suppress(FileNotFoundError):
            return [
                worker
                for worker in pool.process_ids()
                if seconds_of_work(worker) - before.get(worker, 0) > 0.5
            ]

    def act():
        for _ in range(times):
            eventually(at_it)
            # Another may have been started in between, which takes as long to import.
            worker = max(at_it(), key=lambda one: seconds_of_work(one) - before.get(one, 0))
            action(worker)
            eventually(lambda gone=worker: gone not in pool.process_ids())

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.reliability("F20")
def test_an_item_whose_worker_is_killed_is_graded_by_another_one(pool):
    assert pool.run(EASY) == [EQUAL] * 10
    stopped = pool.process_ids()
    for worker in stopped:
        os.kill(worker, signal.SIGSTOP)

    def kill():
        eventually(pool._busy)
        for worker in stopped:
            os.kill(worker, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert pool.run(EASY) == [EQUAL] * 10
    thread.join()


@pytest.mark.reliability("F20")
def test_an_item_whose_workers_are_killed_twice_is_lost_and_no_other(pool):
    thread = interfere(pool, lambda worker: os.kill(worker, signal.SIGKILL), times=2)
    results = pool.run([ENDLESS, *EASY])
    thread.join()
    assert results[0].verdict == "crashed"
    assert "signal 9" in results[0].message
    assert results[1:] == [EQUAL] * 10
    assert pool.run(EASY) == [EQUAL] * 10


def test_an_item_at_which_workers_crash_is_lost_and_no_other(pool):
    thread = interfere(pool, lambda worker: os.kill(worker, signal.SIGSEGV), times=2)
    results = pool.run([ENDLESS, *EASY])
    thread.join()
    assert (results[0].verdict, results[1:]) == ("crashed", [EQUAL] * 10)


def test_workers_that_die_idle_cost_nothing(pool):
    assert pool.run(EASY) == [EQUAL] * 10
    for worker in pool.process_ids():
        os.kill(worker, signal.SIGKILL)
    time.sleep(0.2)  # whether or not the deaths are noticed by then
    assert pool.run(EASY) == [EQUAL] * 10


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_job_costs_no_grade(pool, descendants, name):
    assert pool.run(EASY) == [EQUAL] * len(EASY)
    for process in descendants(os.getpid()):
        os.kill(process, name)
    assert pool.run(EASY) == [EQUAL] * len(EASY)


def test_the_pool_recovers_when_the_program_itself_is_killed(pool, descendants):
    assert pool.run(EASY) == [EQUAL] * 10
    workers = set(pool.process_ids())
    (program,) = [p for p in descendants(os.getpid()) if workers & descendants(p)]
    os.kill(program, signal.SIGKILL)
    # Workers do not outlive it: nothing could kill them any more.
    assert eventually(lambda: not any(map(alive, workers)))
    assert pool.run(EASY) == [EQUAL] * 10


def test_an_interrupted_run_leaves_no_late_reply_to_the_next(pool):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            pool.run([ENDLESS, ENDLESS])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pool.process_ids() == []
    different = Task((("x+1", "x+2"),))
    assert pool.run([EASY[0], different]) == [EQUAL, Result("different")]


def test_deadlines_are_kept_while_other_workers_go_on():
    pool = WorkerPool(num_workers=2, deadline=1.0, memory_bytes=MEMORY)
    try:
        results = pool.run([ENDLESS, *EASY, ENDLESS])
    finally:
        pool.close()
    assert results == [Result("deadline"), *[EQUAL] * 10, Result("deadline")]


def test_workers_are_replaced_before_their_caches_grow(pool, monkeypatch):
    monkeypatch.setattr("perl_jax.rewards.workers._ITEMS_PER_WORKER", 3)
    pool.run(EASY[:1])
    before = set(pool.process_ids())
    assert pool.run(EASY) == [EQUAL] * 10
    assert not before & set(pool.process_ids())


def test_no_process_is_left_after_closing_or_after_an_exception(descendants):
    before = descendants(os.getpid())
    during = set()

    def fail():
        with Grader(num_workers=2) as grader:
            grader.grade([r"\boxed{x+1}", r"\boxed{x+2}"], ["1+x", "2+x"])
            during.update(descendants(os.getpid()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    # The program and its two workers.
    assert len(during - before) == 3
    assert eventually(lambda: descendants(os.getpid()) <= before)


SCRIPT = r"""
import os, sys
print("started")
from perl_jax.rewards import Grader
grader = Grader(num_workers=2)
grades = grader.grade([r"\boxed{x+1}", r"\boxed{x+2}"], ["1+x", "2+x"])
print([grade.score for grade in grades])
print(sorted({"sympy", "math_verify", "jax", "flax", "transformers"} & set(sys.modules)))
print(*grader._pool.process_ids())
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["without closing", "killed"])
def test_a_script_without_a_main_guard_runs_once_and_leaves_nothing(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(script), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    # Neither the evaluator nor a device library entered the process that holds the model's text.
    started, scores, modules, workers = done.stdout.splitlines()
    assert (started, scores, modules) == ("started", "[1.0, 1.0]", "[]")
    ids = [int(word) for word in workers.split()]
    assert len(ids) == 2
    assert eventually(lambda: not any(map(alive, ids)))


@pytest.mark.reliability("F22")
def test_a_grader_that_cannot_import_math_verify_names_the_cause(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(GradingError, match="ImportError: broken on purpose"):
        Grader()


def test_a_grader_whose_library_answers_nonsense_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text(
        "LatexExtractionConfig = dict\n"
        "def parse(*_, **__): return [1]\n"
        "def verify(*_, **__): return False\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(GradingError, match=r"self-test: x\+1 and 1\+x are different"):
        Grader()


# A library that does what it is told stands for one that model text has taken over.
OBEDIENT = """
LatexExtractionConfig = dict
def parse(text, *_, **__):
    return [text]
def verify(gold, target, **_):
    if "write" in target[0]:
        open(MARKER, "w")
    if "evaluate" in target[0]:
        import sympy
        sympy.sympify("1+1")
    return sorted(gold[0]) == sorted(target[0])
"""


def test_a_library_that_is_taken_over_can_neither_evaluate_nor_write(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    library = OBEDIENT.replace("MARKER", repr(str(marker)))
    (tmp_path / "math_verify.py").write_text(library)
    monkeypatch.syspath_prepend(str(tmp_path))
    pool = WorkerPool(num_workers=1, deadline=300.0, memory_bytes=MEMORY)
    try:
        results = pool.run([Task(((text, "x"),)) for text in ("write", "evaluate", "x")])
    finally:
        pool.close()
    assert [result.verdict for result in results] == ["undecided", "undecided", "equal"]
    assert "PermissionError: a grading worker may not write files" in results[0].message
    assert "SympifyError" in results[1].message
    assert not marker.exists()


def test_a_grader_whose_interpreter_is_missing_names_it(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(GradingError, match="/no/such/python"):
        Grader()


def test_a_worker_can_read_but_not_write_run_or_connect(tmp_path):
    marker = tmp_path / "marker"
    attempts = [
        f"open({str(marker)!r}, 'w')",
        f"__import__('os').system('touch {marker}')",
        f"__import__('os').mkdir({str(marker)!r})",
        f"__import__('subprocess').run(['touch', {str(marker)!r}])",
        "__import__('os').fork()",
        "__import__('socket').socket().connect(('127.0.0.1', 9))",
        "__import__('ctypes').CDLL(None)",
    ]
    program = (
        "import socket, runpy, sys\n"
        "names = runpy.run_module('perl_jax.rewards.symbolic')\n"
        "names['_limit'](2 * 1024**3)\n"
        "sys.addaudithook(names['_refuse_ways_out'])\n"
        f"for attempt in {attempts!r}:\n"
        "    try:\n"
        "        eval(attempt)\n"
        "    except PermissionError as error:\n"
        "        print(error)\n"
        "import resource\n"
        "print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_FSIZE))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    *refusals, limits = done.stdout.splitlines()
    assert len(refusals) == len(attempts), done.stderr
    assert all("a grading worker may not" in refusal for refusal in refusals)
    assert limits == f"({MEMORY}, {MEMORY}) (0, 0)"
    assert not marker.exists()
