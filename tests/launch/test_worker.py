"""launch/worker.sh: what runs on each host, and how it tells its end."""

import shutil
import signal
import subprocess
import tarfile
import time

import pytest

from tests.launch.conftest import FAKES, ROOT

PROGRAM = ("--", str(FAKES / "host_python"), "-m", "perl_jax.train")


@pytest.fixture
def worker(machine):
    workdir = machine.directory / "run"

    def command(action, *arguments, host=0):
        return machine.start(
            "worker.sh", action, f"--workdir={workdir}", *arguments, TPU_WORKER_ID=str(host)
        )

    return command


def program(workdir):
    return (*PROGRAM, f"--workdir={workdir}")


def state(machine, worker):
    return machine.end(worker("state")).stdout.strip()


def test_a_finished_run_ends_with_0(machine, worker):
    ended = machine.end(worker("run", *program(machine.directory / "run")))
    assert ended.returncode == 0, ended.stderr
    assert state(machine, worker) == "finished"


@pytest.mark.parametrize(("host", "status", "said"), [(0, 75, "stopped"), (1, 0, "ended")])
def test_a_stopped_run_ends_with_75_on_the_host_that_knows(machine, worker, host, status, said):
    machine.plan("wait")
    process = worker("run", *program(machine.directory / "run"), host=host)
    machine.wait_for("starts", "from step")
    process.send_signal(signal.SIGTERM)
    ended = machine.end(process)
    assert f"host {host} saved and stopped" in ended.stdout
    assert ended.returncode == status
    assert state(machine, worker) == said


def test_a_host_of_a_tpu_learns_its_number_from_the_metadata_server(machine):
    workdir = machine.directory / "run"
    ended = machine.run("worker.sh", "run", f"--workdir={workdir}", "--", "true")
    # The first host would say 75, as nothing was finished.
    assert ended.returncode == 0
    assert machine.run("worker.sh", "state", f"--workdir={workdir}").stdout == "ended\n"


def test_a_program_that_a_signal_ends_before_it_listens_counts_as_stopped(machine, worker):
    ready = machine.directory / "ready"
    process = worker("run", "--", "bash", "-c", f"echo now >{ready}; exec sleep 3600")
    machine.wait_for("ready", "now")
    process.send_signal(signal.SIGTERM)
    assert machine.end(process).returncode == 75


def test_an_old_summary_does_not_pass_for_a_finished_run(machine, worker):
    machine.plan("wait")
    (machine.directory / "run").mkdir()
    (machine.directory / "run" / "summary.json").write_text('{"steps": 5}')
    process = worker("run", *program(machine.directory / "run"))
    machine.wait_for("starts", "from step")
    process.send_signal(signal.SIGTERM)
    assert machine.end(process).returncode == 75


def test_the_status_of_a_program_that_fails_is_passed_on(machine, worker):
    machine.plan("fail 7")
    assert machine.end(worker("run", *program(machine.directory / "run"))).returncode == 7
    assert state(machine, worker) == "failed 7"


@pytest.mark.parametrize(("said", "later"), [("error: host 1: x", "0"),
                         ("error: ended with the others, since host 0: x", "1")])  # fmt: skip
def test_a_failure_is_reported_with_its_time_and_the_end_of_the_log(machine, worker, said, later):
    program = ("--", "bash", "-c", f"echo '{said}'; exit 7")
    assert machine.end(worker("report", host=1)).stdout == ""
    assert machine.end(worker("start", *program, host=1)).returncode == 0
    machine.wait_for("run/.launch/exit", "7")
    told = machine.end(worker("report", host=1)).stdout.splitlines()
    assert [line.split("\t") for line in told[1:]] == [["1", "log", said]]
    host, kind, is_later, ended, status = told[0].split("\t")
    assert (host, kind, is_later, status) == ("1", "failed", later, "7")
    assert abs(float(ended) - time.time()) < 300


def test_a_program_in_the_background_is_followed_and_stopped(machine, worker):
    machine.plan("wait")
    assert state(machine, worker) == "none"
    assert machine.end(worker("start", *program(machine.directory / "run"))).returncode == 0
    machine.wait_for("run/log.txt", "host 0 waits")
    assert state(machine, worker) == "running"
    again = machine.end(worker("start", *program(machine.directory / "run")))
    assert "running already" in again.stderr
    follower = worker("follow")
    assert machine.end(worker("stop")).returncode == 0
    ended = machine.end(follower)
    assert ended.returncode == 75
    assert "host 0 saved and stopped" in ended.stdout
    assert machine.read("starts").count("from step") == 1


def test_a_program_that_vanished_is_lost(machine, worker):
    notes = machine.directory / "run" / ".launch"
    notes.mkdir(parents=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (notes / "pid").write_text(f"{gone.pid}\n")
    ended = machine.end(worker("state"))
    assert (ended.stdout, ended.stderr) == ("lost\n", "")
    ended = machine.end(worker("follow"))
    assert ended.returncode == 1
    assert "gone without an exit status" in ended.stderr


def test_the_work_directory_is_kept_while_the_program_runs(machine, worker):
    machine.plan("wait")
    kept = machine.directory / "kept"
    process = worker(
        "run",
        f"--keep={kept}",
        "--every=0.1",
        f"--python={FAKES / 'host_python'}",
        *program(machine.directory / "run"),
    )
    machine.wait_for("starts", "from step")
    (machine.directory / "run" / "metrics.jsonl").write_text("step 1\n")
    machine.wait_for("kept/metrics.jsonl", "step 1")
    process.send_signal(signal.SIGTERM)
    machine.end(process)


def test_a_bucket_that_is_gone_does_not_end_the_run(machine, worker):
    ended = machine.end(
        worker("run", "--keep=nowhere://x", f"--python={FAKES / 'host_python'}",
               *program(machine.directory / "run"))
    )  # fmt: skip
    assert ended.returncode == 0
    assert "could not save" in ended.stderr
    assert "going on" in ended.stderr


def test_the_file_list_of_a_package_has_the_code_and_nothing_that_git_ignores(tmp_path):
    package = tmp_path / "x.tar.gz"
    subprocess.run([ROOT / "launch" / "pack.sh", package], check=True)
    listed = subprocess.run(
        ["tar", "-tzf", package], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert {"perl_jax/train.py", "configs/demo.py", "launch/worker.sh", "pyproject.toml"} <= set(
        listed
    )
    assert not [name for name in listed if "__pycache__" in name or name.startswith(".git/")]


def test_a_package_leaves_untracked_files_and_secrets_behind_and_says_so(tmp_path):
    tree = tmp_path / "tree"
    (tree / "launch").mkdir(parents=True)
    shutil.copy(ROOT / "launch" / "pack.sh", tree / "launch")
    tracked = ("a b.py", ".env", "deploy/.env.local", "keys/host.pem", "my-credentials.json",
               "environment.py", "gone.py")  # fmt: skip
    for name in (*tracked, "scratch.txt", ".envrc"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    for words in (("init", "--quiet"), ("add", "launch", *tracked)):
        subprocess.run(["git", *words], cwd=tree, check=True)
    (tree / "gone.py").unlink()
    package = tmp_path / "x.tar.gz"
    ended = subprocess.run(
        [tree / "launch" / "pack.sh", package], check=True, capture_output=True, text=True
    )
    with tarfile.open(package) as content:
        assert set(content.getnames()) == {"a b.py", "environment.py", "launch/pack.sh"}
    said = dict(line.split(": left out: ")[1].split(" (", 1) for line in ended.stderr.splitlines())
    untracked, secret = "not tracked; git add takes it along)", "looks like a secret)"
    assert said == dict.fromkeys(("scratch.txt", ".envrc"), untracked) | dict.fromkeys(
        (".env", "deploy/.env.local", "keys/host.pem", "my-credentials.json"), secret
    )
