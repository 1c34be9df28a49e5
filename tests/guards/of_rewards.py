"""Scenarios of grading: hostile responses, workers, reward functions of the user."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.guards.removal import ROOT, hold, refused


def a_box_is_endless(module, directory):
    box = module.last_boxed("\\boxed{" + "1" * 100_000 + "}")
    hold(box.problem == "too_long", f"grades {len(box.text)} characters")


def an_answer_hides_characters(module, directory):
    box = module.last_boxed("\\boxed{3\u200b}")
    hold(box.problem == "invisible_characters", "grades characters that nobody sees")


def a_box_is_never_closed(module, directory):
    hold(
        module.last_boxed("\\boxed{1} \\boxed{2").problem == "unclosed_box", "an earlier box counts"
    )


def a_number_has_a_huge_exponent(module, directory):
    hold(module.read_number("1e99999") is None, "computes 10**99999")


def a_number_divides_by_zero(module, directory):
    try:
        hold(module.read_number(r"\frac{1}{0}") is None, "a fraction over zero is a number")
    except ZeroDivisionError as error:
        hold(False, f"raises {error!r}")


def a_repeating_decimal_has_a_long_period(module, directory):
    text = r"0.\overline{" + "1234567" * 200 + "}"
    hold(module.read_number(text) is None, "a fraction of thousands of digits")


def a_decimal_has_thousands_of_digits(module, directory):
    latex = module.mathematics("x + 0." + "12345" * 300)
    hold(latex is None or "frac" not in latex, "writes a fraction of thousands of digits")


def what_follows_a_number_is_endless(module, directory):
    hold(module._read_rest(" million" * 5000, one=False) is None, "multiplies 5000 millions")


def a_truth_is_not_a_number(module, directory):
    refused(ValueError, "is not a finite number", lambda: module.answer_text(float("nan")))


def a_truth_never_fits_a_box(module, directory):
    refused(ValueError, "do not balance", lambda: module.answer_text("{3"))


# The symbolic program


def program(module, text, directory, *arguments):
    """Runs a text after the definitions of the symbolic program, in a process of its own."""
    source = directory / "program.py"
    source.write_text(module_text(module) + "\n" + text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-P", source, *arguments], capture_output=True, text=True, timeout=60
    )


def module_text(module):
    """The text that a module of `with_text` was made from, without its last lines."""
    text = module.__source__
    return text[: text.index('if __name__ == "__main__":')]


def a_worker_may_not(event, *arguments):
    def scenario(module, directory):
        words = "a grading worker may not"
        refused(PermissionError, words, lambda: module._refuse_ways_out(event, arguments))

    return scenario


a_worker_starts_a_program = a_worker_may_not("os.system", b"touch marker")
a_worker_starts_a_program.__name__ = "a_worker_starts_a_program"
a_worker_writes_a_file = a_worker_may_not("open", "marker", "w", os.O_WRONLY)
a_worker_writes_a_file.__name__ = "a_worker_writes_a_file"


def an_answer_is_python(module, directory):
    marker = directory / "marker"
    text = f"""
_replace_evaluator()
from sympy.parsing.sympy_parser import parse_expr
import sympy
for evaluate in (parse_expr, sympy.parse_expr):
    try:
        evaluate("__import__('pathlib').Path({str(marker)!r}).touch()")
    except sympy.SympifyError:
        pass
"""
    ended = program(module, text, directory)
    assert "Error" not in ended.stderr or marker.exists(), ended.stderr
    hold(not marker.exists(), "the text of an answer was evaluated")


def an_answer_takes_all_memory(module, directory):
    text = """
_limit(2**28)
try:
    bytearray(2**30)
except MemoryError:
    print("refused")
"""
    hold("refused" in program(module, text, directory).stdout, "a worker takes a gigabyte")


def a_worker_fills_the_disk(module, directory):
    text = "_limit(2**28)\nprint(resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
    hold(program(module, text, directory).stdout == "0\n", "a worker may write files")


def ends(process):
    """Whether a process ends within seconds; it is killed if it does not."""
    state, until = Path(f"/proc/{process}/stat"), time.monotonic() + 5
    while time.monotonic() < until:
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX":
            return True
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return False


def the_parent_of_workers_is_killed(module, directory):
    text = """
import time
ready, told = os.pipe()
child = os.fork()
if not child:
    _die_with_parent()
    for handle in (0, 1, 2):
        os.close(handle)
    os.write(told, b"x")
    time.sleep(60)
    os._exit(0)
os.read(ready, 1)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = int(program(module, text, directory).stdout.split()[0])
    hold(ends(child), "a worker outlives the program that forked it")


# The pool, with a program that answers without any mathematics

_ANSWERS = """
def _answer(request):
    import time
    pair = request["pairs"][0][0]
    if pair == "hang":
        while not os.path.exists(__file__ + ".released"):
            time.sleep(0.01)
    if pair == "long":
        return {"verdict": "equal", "message": "x" * 400_000}
    if pair == "die":
        os._exit(3)
    if pair == "secret":
        return {"verdict": "equal", "message": os.environ.get("PERL_JAX_SECRET", "")}
    return {"verdict": "equal"}

control = socket.socket(fileno=int(sys.argv[1]))
control.sendall(b'{"status": "ready"}\\n')
_serve(control, int(sys.argv[2]))
"""


def graded(module, directory, *answers, deadline=60.0):
    """The results of answers in a pool of one worker of this module."""
    text = (ROOT / "perl_jax/rewards/symbolic.py").read_text()
    file = directory / "program.py"
    file.write_text(text[: text.index('if __name__ == "__main__":')] + _ANSWERS)
    module._PROGRAM = file
    pool = module.WorkerPool(1, deadline, 2**30)
    try:
        return pool.run([module.Task(((answer, "truth"),)) for answer in answers])
    finally:
        pool.close()


def an_answer_takes_for_ever(module, directory):
    asked = []

    def monotonic():
        # Without the deadline, the pool asks for the time again and again.
        asked.append(1)
        if len(asked) > 2000:
            (directory / "program.py.released").touch()
        return time.monotonic()

    module.time = SimpleNamespace(monotonic=monotonic)
    (result,) = graded(module, directory, "hang", deadline=0.2)
    hold(result.verdict == "deadline", "a worker that hangs is waited for")


def a_reply_is_endless(module, directory):
    (result,) = graded(module, directory, "long")
    hold(result.verdict == "crashed", f"reads {len(result.message)} characters of a worker")


def a_worker_dies(module, directory):
    try:
        first, second = graded(module, directory, "die", "easy")
    except (OSError, ValueError) as error:
        hold(False, f"the death of a worker ends the run: {error!r}")
    hold((first.verdict, second.verdict) == ("crashed", "equal"), "a death costs other answers")


def the_environment_holds_a_secret(module, directory):
    os.environ["PERL_JAX_SECRET"] = "key"
    try:
        (result,) = graded(module, directory, "secret")
    finally:
        del os.environ["PERL_JAX_SECRET"]
    hold(result.message == "", "a worker that reads hostile text has the secret")


# The grader


class Scripted:
    """A pool that gives the same result to every task."""

    def __init__(self, result):
        self.result, self.asked = result, 0

    def run(self, tasks):
        self.asked += len(tasks)
        return [self.result] * len(tasks)

    def close(self): ...


def grader(module, verdict):
    from perl_jax.rewards.workers import Result

    pool = Scripted(Result(verdict))
    module.WorkerPool = lambda *_: pool
    return module.Grader(num_workers=1), pool


def our_own_program_fails(module, directory):
    graders, _ = grader(module, "failed")
    from perl_jax.rewards.workers import GradingError

    call = lambda: graders.grade([r"\boxed{\sqrt{2}}"] * 10, ["2^{1/2}"] * 10)  # noqa: E731
    refused(GradingError, "failed on 10 of 10 rows", call)


def a_failure_is_remembered(module, directory):
    graders, pool = grader(module, "deadline")
    for _ in range(2):
        graders.grade([r"\boxed{\sqrt{2}}"], ["2^{1/2}"])
    hold(pool.asked == 2, "an answer that was lost once is never graded again")


def a_deadline_is_not_a_number(module, directory):
    grader(module, "equal")
    call = lambda: module.Grader(num_workers=1, deadline=float("nan"))  # noqa: E731
    refused(ValueError, "deadline must be at least", call)


# Functions of the user


def a_reward_is_not_a_number(module, directory):
    function = module.RewardFunction("user:reward", lambda responses, answers, metadata: [np.nan])
    refused(ValueError, "expected a finite number", lambda: function(["a"], ["b"]))


def a_reward_is_missing(module, directory):
    function = module.RewardFunction("user:reward", lambda responses, answers, metadata: [1.0])
    refused(ValueError, "expected 2 numbers", lambda: function(["a", "b"], ["c", "d"]))


def a_reward_function_raises(module, directory):
    function = module.RewardFunction("user:reward", lambda responses, answers, metadata: 1 / 0)
    refused(RuntimeError, "raised ZeroDivisionError", lambda: function(["a"], ["b"]))


def a_function_takes_part_in_the_run(module, directory):
    os.environ["JAX_COORDINATOR_ADDRESS"] = "host:1"
    try:
        environment = module._environment()
    finally:
        del os.environ["JAX_COORDINATOR_ADDRESS"]
    hold("JAX_COORDINATOR_ADDRESS" not in environment, "it would join the hosts of the run")


def a_function_leaves_processes_behind(module, directory):
    """The program kills the whole group of its worker when its control socket closes."""
    file = directory / "program.py"
    text = module.__source__.replace("def _serve(", "def _unused(")
    text = text.replace(
        'if __name__ == "__main__":',
        """
def _serve(data, paths):
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    data.sendall(b"%d\\n" % child.pid)
    data.recv(1)

if __name__ == "__main__":""",
    )
    file.write_text(text)
    pairs = [socket.socketpair() for _ in range(2)]
    theirs = [other for _, other in pairs]
    process = subprocess.Popen(
        [sys.executable, file, *(str(one.fileno()) for one in theirs), "{}"],
        pass_fds=[one.fileno() for one in theirs],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    for one in theirs:
        one.close()
    (control, data), child = (ours for ours, _ in pairs), 0
    child = int(data.recv(64))
    control.close()
    process.wait(timeout=60)
    data.close()
    hold(ends(child), "what the function started outlives it")
