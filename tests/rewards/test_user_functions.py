"""Functions of the user in their process: what becomes of a run when one of them fails."""

import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from perl_jax.rewards import GradingError, RewardConfig, UserFunctions
from perl_jax.rewards.functions import Fault
from tests.rewards.processes import alive, eventually

# Far less than the functions sleep, and far more than an answer takes on a busy machine ...
PATIENT = 60.0
# ... or less than that, where none will come.
DEADLINE = 0.5

MODULE = """
import ctypes, math, multiprocessing, os, subprocess, sys, time

calls = 0

def counted(responses, answers, metadata):
    global calls
    calls += 1
    return [float(calls)] * len(responses)

def process(responses): return [float(os.getpid())] * len(responses)
def place(responses): return [float(os.path.samefile(os.getcwd(), text)) for text in responses]
def grouped(responses, groups, lengths, orders, questions, ids):
    return [g + n + o[0] + len(q) + len(i) for g, n, o, q, i in
            zip(groups, lengths, orders, questions, ids)]
def has(responses): return [float(text in os.environ) for text in responses]
def on_cpu(responses): return [float(os.environ["JAX_PLATFORMS"] == "cpu")]
def prints(responses):
    print("told by the function")
    subprocess.run(["echo", "told by its child"])
    return [0.0] * len(responses)

def sleeps(responses, answers, metadata): time.sleep(3600)
def holds_the_lock(responses, answers, metadata):
    import re
    re.match("(a+)+b", "a" * 60)
def has_children(responses):
    for text in responses:
        child = subprocess.Popen(["sleep", "3600"])
        open(text, "w").write(str(child.pid))
    os._exit(1)
def marks(responses):
    open(responses[0], "w").write(str(os.getpid()))
    time.sleep(3600)
def exits(responses): sys.exit(3)
def leaves(responses): os._exit(4)
def segfaults(responses): ctypes.string_at(0)
def raises(responses): raise KeyError("column")
def texts(responses): return ["1.0"] * len(responses)
def nans(responses): return [1.0, math.nan][: len(responses)]
def wrong_number(responses): return [1.0] * (len(responses) + 1)
def sums(responses, metadata): return [float(row["x"]) for row in metadata]
"""


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Returns functions of the module by their names, in one process that ends with the test."""
    (tmp_path / "their_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = []

    def make(*names, deadline=DEADLINE, max_failed=1.0, log=None, module="their_rewards"):
        functions = {name: f"{module}:{name}" for name in names}
        weights = dict.fromkeys(names, 1.0)
        config = RewardConfig(weights, functions, function_deadline=deadline, max_failed=max_failed)
        opened.append(UserFunctions(config, log))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def columns(*responses, **others):
    count = len(responses)
    rows = {
        "responses": list(responses),
        "answers": ["1"] * count,
        "metadata": [{}] * count,
        "questions": ["Which?"] * count,
        "ids": ["p"] * count,
        "orders": [(0, 1)] * count,
        "lengths": [3] * count,
        "groups": [0] * count,
    }
    return {**rows, **others}


def test_functions_are_given_what_they_ask_for(called):
    functions = called("grouped", "counted", deadline=PATIENT)
    given = columns("a", "b", lengths=[10, 20], groups=[5, 6], orders=[(1, 0), (0, 1)])
    values, reasons = functions.rewards("grouped", given)
    assert values.tolist() == [5 + 10 + 1 + 6 + 1, 6 + 20 + 0 + 6 + 1]
    assert (values.dtype, reasons) == (np.float32, ["", ""])


def test_the_process_is_another_one_and_stays_between_calls(called):
    functions = called("counted", "process", deadline=PATIENT)
    assert functions.rewards("counted", columns("a"))[0].tolist() == [1]
    assert functions.rewards("counted", columns("a", "b"))[0].tolist() == [2, 2]
    first, again = (functions.rewards("process", columns("a"))[0][0] for _ in range(2))
    assert first == again != os.getpid()


def test_the_process_works_where_this_one_does(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = called("place", deadline=PATIENT).rewards("place", columns(str(tmp_path), "/"))
    assert found[0].tolist() == [1, 0]


def test_the_process_is_no_part_of_a_run_of_several_hosts_and_takes_no_chip(called, monkeypatch):
    for name in ("TPU_WORKER_ID", "JAX_COORDINATOR_ADDRESS", "SLURM_PROCID", "RANK", "API_KEY"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    functions = called("has", "on_cpu", deadline=PATIENT)
    asked = ["TPU_WORKER_ID", "JAX_COORDINATOR_ADDRESS", "SLURM_PROCID", "RANK", "API_KEY"]
    assert functions.rewards("has", columns(*asked))[0].tolist() == [0, 0, 0, 0, 1]
    assert functions.rewards("on_cpu", columns("a"))[0].tolist() == [1]


def test_what_functions_print_stands_in_the_log_and_nowhere_else(called, tmp_path, capfd):
    log = tmp_path / "functions.log"
    functions = called("prints", "raises", deadline=PATIENT, log=log)
    functions.rewards("prints", columns("a"))
    assert log.read_text() == "told by the function\ntold by its child\n"
    functions.rewards("raises", columns("a"))
    assert "in raises" in log.read_text()
    out, err = capfd.readouterr()
    assert out == ""
    # Another test's library may have set up logging, which then shows the warning.
    assert all("reward.functions.raises (their_rewards:raises)" in x for x in err.splitlines())


@pytest.mark.reliability("F21", "F24")
@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("sleeps", "deadline", "no answer within 0.5 seconds"),
        ("holds_the_lock", "deadline", "no answer within 0.5 seconds"),
        ("exits", "crashed", "ended with exit status 3"),
        ("leaves", "crashed", "ended with exit status 4"),
        ("segfaults", "crashed", "ended, killed by signal 11"),
        ("raises", "raised", "raised KeyError('column')"),
        ("wrong_number", "count", "expected 2 numbers; got 3"),
        ("texts", "no_number", "expected a finite number; got '1.0'"),
    ],
)
def test_a_function_that_fails_leaves_its_responses_without_a_reward(
    called, caplog, name, reason, message
):
    functions = called(name, "grouped", deadline=DEADLINE if reason == "deadline" else PATIENT)
    with caplog.at_level(logging.WARNING, "perl_jax"):
        for _ in range(2):
            values, reasons = functions.rewards(name, columns("a", "b"))
            assert (values.tolist(), reasons) == ([0, 0], [reason, reason])
    # Each kind is told once, and the others are called as before.
    (line,) = caplog.messages
    assert f"reward.functions.{name} (their_rewards:{name})" in line
    assert f"({reason}): " in line
    assert message in line
    functions._deadline = PATIENT
    assert functions.rewards("grouped", columns("a"))[1] == [""]


@pytest.mark.reliability("F24")
def test_a_value_that_is_no_number_costs_its_response_alone(called):
    values, reasons = called("nans", deadline=PATIENT).rewards("nans", columns("a", "b"))
    assert (values.tolist(), reasons) == ([1, 0], ["", "no_number"])


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not plain data")


class Lost:
    """Can be pickled, but not be made again in the other process."""

    def __reduce__(self):
        return (os.strerror, ("no number",))


@pytest.mark.parametrize(
    ("thing", "cause"), [(Unpicklable(), "plain data"), (Lost(), "an integer")]
)
def test_metadata_that_cannot_be_sent_costs_its_responses(called, caplog, thing, cause):
    functions = called("sums", "process", deadline=PATIENT)
    with caplog.at_level(logging.WARNING, "perl_jax"):
        values, reasons = functions.rewards("sums", columns("a", metadata=[{"x": thing}]))
    assert (values.tolist(), reasons) == ([0], ["unpicklable"])
    assert cause in caplog.text
    assert functions.rewards("sums", columns("a", metadata=[{"x": 7}]))[0].tolist() == [7]
    # Nothing is sent that a function does not take.
    assert functions.rewards("process", columns("a", metadata=[{"x": thing}]))[1] == [""]


def test_a_process_that_is_killed_during_a_call_loses_that_call_alone(called, tmp_path):
    functions, mark = called("marks", "counted", deadline=PATIENT), tmp_path / "mark"

    def kill():
        eventually(lambda: mark.exists() and mark.read_text())
        os.kill(int(mark.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    reasons = functions.rewards("marks", columns(str(mark)))[1]
    thread.join()
    assert reasons == ["crashed"]
    assert functions.rewards("counted", columns("a"))[0].tolist() == [1]


def test_a_process_that_is_killed_between_calls_costs_nothing(called):
    functions = called("process", deadline=PATIENT)
    first = int(functions.rewards("process", columns("a"))[0][0])
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: not alive(first))
    values, reasons = functions.rewards("process", columns("a"))
    assert (values[0] != first, reasons) == (True, [""])


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_job_leaves_the_rewards_of_its_last_step(
    called, descendants, name
):
    before, functions = descendants(os.getpid()), called("process", deadline=PATIENT)
    first = functions.rewards("process", columns("a"))[0].tolist()
    for process in descendants(os.getpid()) - before:
        os.kill(process, name)
    assert functions.rewards("process", columns("a"))[0].tolist() == first


def test_the_children_of_a_process_that_ends_are_killed_with_it(called, tmp_path):
    mark = tmp_path / "child"
    functions = called("has_children", deadline=PATIENT)
    assert functions.rewards("has_children", columns(str(mark)))[1] == ["crashed"]
    assert eventually(lambda: not alive(int(mark.read_text())))


def test_a_call_that_is_interrupted_leaves_no_late_answer_to_the_next(called):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    functions = called("sleeps", "counted", deadline=PATIENT)
    functions.problems()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            functions.rewards("sleeps", columns("a"))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert functions.rewards("counted", columns("a"))[0].tolist() == [1]


def test_closing_ends_a_call_of_another_thread_at_once(called, tmp_path):
    functions, mark = called("marks", deadline=PATIENT), tmp_path / "mark"
    reasons = []
    thread = threading.Thread(
        target=lambda: reasons.extend(functions.rewards("marks", columns(str(mark)))[1])
    )
    thread.start()
    assert eventually(lambda: mark.exists() and mark.read_text())
    functions.close()
    thread.join()
    assert reasons == ["crashed"]
    assert not alive(int(mark.read_text()))
    with pytest.raises(GradingError, match="reward functions are closed"):
        functions.rewards("marks", columns("a"))


def test_the_process_starts_again_when_the_program_that_forked_it_is_killed(called, descendants):
    before, functions = descendants(os.getpid()), called("process", deadline=PATIENT)
    worker = int(functions.rewards("process", columns("a"))[0][0])
    (program,) = descendants(os.getpid()) - before - {worker}
    os.kill(program, signal.SIGKILL)
    # Nothing could kill the worker any more, so it does not outlive the program.
    assert eventually(lambda: not alive(worker))
    assert functions.rewards("process", columns("a"))[1] == [""]


def test_no_process_starts_before_it_is_needed_or_is_left_after_closing(called, descendants):
    before = descendants(os.getpid())
    with called("process", deadline=PATIENT) as functions:
        assert descendants(os.getpid()) == before
        functions.rewards("process", columns("a"))
        # The program, and the worker that it has forked.
        assert len(descendants(os.getpid()) - before) == 2
    assert descendants(os.getpid()) <= before


SCRIPT = r"""
import os, sys
from perl_jax.rewards import RewardConfig, UserFunctions
functions = UserFunctions(RewardConfig({"process": 1}, {"process": "their_rewards:process"}))
print(int(functions.rewards("process", {"responses": ["a"]})[0][0]))
print(sorted({"their_rewards", "jax"} & set(sys.modules)), flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["without closing", "killed"])
@pytest.mark.usefixtures("called")
def test_a_program_leaves_no_process_however_it_ends(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(script), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    worker, modules = done.stdout.splitlines()
    # The module of the user never enters the process that trains.
    assert modules == "[]"
    assert eventually(lambda: not alive(int(worker)))


@pytest.mark.reliability("F22")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package_at_all", "no_such_package_at_all"),
        ("raise SystemExit(5)", "ended with exit status 5"),
        ("import os; os._exit(6)", "ended with exit status 6"),
        ("def broken(responses, lenghts): pass", "did you mean 'lengths'"),
        ("broken = 3", "no function 'broken'"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_told_and_stops_its_use(
    called, tmp_path, source, message
):
    (tmp_path / "broken_rewards.py").write_text(source)
    functions = called("broken", module="broken_rewards")
    (problem,) = functions.problems().values()
    assert message in problem
    with pytest.raises(GradingError, match=r"reward\.functions\.broken: reward broken_rewards"):
        functions.rewards("broken", columns("a"))


@pytest.mark.reliability("F23")
def test_a_function_that_fails_too_often_stops_the_run(called):
    functions = called("raises", "process", deadline=PATIENT, max_failed=0.25)
    # A few failures may be chance.
    for _ in range(4):
        functions.rewards("raises", columns("a", "b"))
        functions.rewards("process", columns("a", "b"))
    with pytest.raises(GradingError) as stopped:
        functions.rewards("raises", columns("a", "b"))
    assert str(stopped.value) == (
        "reward.functions.raises (their_rewards:raises): failed for 10 of the last 10 responses, "
        "more than reward.max_failed=0.25 allows: raised KeyError('column')"
    )


def test_no_failure_at_all_may_be_tolerated(called):
    with pytest.raises(GradingError, match=r"1 of the last 2 responses"):
        called("nans", deadline=PATIENT, max_failed=0.0).rewards("nans", columns("a", "b"))


def test_the_share_of_failures_is_that_of_the_latest_responses(called):
    functions = called("nans", max_failed=0.1)
    fault = Fault("raised", "raised it")
    for _ in range(100):
        functions._count("nans", 0, 100, [])
    for _ in range(10):
        functions._count("nans", 10, 10, [fault])
    # 110 of the last 1,000 or a little more; ten thousand that succeeded before do not hide them.
    with pytest.raises(GradingError, match=r"110 of the last 1010 responses, .*: raised it"):
        functions._count("nans", 10, 10, [fault])
