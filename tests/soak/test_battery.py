"""The battery with scripted runs: what it strikes, how it goes on, and what it finds."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.soak import battery as module
from tests.soak.battery import Battery, Results
from tests.soak.blows import HOSTS, KINDS
from tests.soak.runs import Refused, step_of

STEPS = 600


class Run:
    """A run that does a step whenever it is waited for; ``events`` has what happened to it."""

    every = 10
    saved = 0

    def __init__(self, workdir, steps=STEPS, dies_at=None):
        self.workdir, self.steps, self.dies_at = workdir, steps, dies_at
        workdir.mkdir(exist_ok=True)
        self.events, self.on, self.step = [], False, step_of(workdir)
        self.processes = [SimpleNamespace(pid=1)]

    def start(self):
        assert not self.on
        self.events.append("start")
        self.on, self.step = True, self.step // self.every * self.every

    def runs(self):
        return self.on

    def wait(self, seconds):
        if self.step == self.dies_at:
            raise Refused("exit status 7: error: something")
        self.step = min(self.steps, self.step + 1)
        row = json.dumps({"step": self.step})
        with (self.workdir / "metrics.jsonl").open("a") as file:
            file.write(row + "\n")
        self.on = self.step < self.steps
        return not self.on

    def finish(self):
        while not self.wait(1):
            pass

    def said(self):
        return "error: something"

    def stop(self):
        self.on = False

    def kill(self, host=None):
        self.events.append(f"host {host}" if host is not None else "main")
        self.on = False
        return "gone"

    def kill_while_saving(self):
        self.events.append("saving")
        self.on = False

    def until_restoring(self):
        self.events.append("restoring")

    def kill_one_of(self, program):
        self.events.append(program)
        return 1

    def lose_worker(self, program):
        self.kill_one_of(program)
        return self.refusal()

    def refusal(self):
        self.on = False
        return "error: [Errno 28] No space left on device"


class Disk:
    def __init__(self, place, megabytes):
        self.filled = 0

    def fill(self):
        self.filled += 1

    def empty(self):
        pass

    def close(self):
        pass


class Scripted(Battery):
    """Runs that are scripted, and of which one may die."""

    dies_at = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.made = {}

    def one(self, name):
        return self.made.setdefault(name, Run(self.place / name, self.steps, self.dies_at))

    def two(self, name):
        return self.made.setdefault(name, Run(self.place / name, self.steps // 2))


@pytest.fixture
def found(monkeypatch):
    """What the comparisons find."""
    found = SimpleNamespace(differences=[], left={}, shared=[], megabytes=0.2)
    monkeypatch.setattr(module, "SmallDisk", Disk)
    monkeypatch.setattr(module, "why_none", lambda place: "")
    monkeypatch.setattr(module, "write_rows", lambda place: None)
    monkeypatch.setattr(module, "differences", lambda one, other: found.differences)
    monkeypatch.setattr(module, "left_over", lambda one, other, temporary: found.left)
    monkeypatch.setattr(module, "left_in_shared_memory", lambda before: found.shared)
    monkeypatch.setattr(module, "_other_rows", lambda place, one, other: [])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        module,
        "sample",
        lambda process, step: module.Sample(step, 1, 500 + found.megabytes * step / 100, 9, 2),
    )
    return found


def figures(battery):
    return battery.results.of("figures")[-1]


@pytest.mark.usefixtures("found")
def test_one_run_is_left_alone_and_the_other_struck_in_every_way(tmp_path):
    battery = Scripted(tmp_path / "soak", STEPS, 3)
    assert battery.run()
    assert battery.made["alone"].events == battery.made["two_hosts"].events == ["start"]
    struck = Counter(row["kind"] for row in battery.results.of("blow", run="battered"))
    assert set(struck) == set(KINDS)
    assert set(battery.made["battered"].events) == {
        "start", "main", "saving", "restoring", "data/pipeline/worker.py", "rewards/symbolic.py",
    }  # fmt: skip
    hosts = battery.results.of("blow", run="battered hosts")
    assert {row["kind"] for row in hosts} == set(HOSTS)
    assert figures(battery)["blows"] == struck | Counter(row["kind"] for row in hosts)
    assert figures(battery)["bad"] == []
    row = battery.row()
    assert row["kills"].startswith(f"{sum(figures(battery)['blows'].values())}: data worker ")
    assert (row["differences"], row["left over"]) == ("none", "nothing")
    assert row["memory in 100 steps"] == "+0.20 MB"


@pytest.mark.usefixtures("found")
def test_a_battery_that_was_stopped_goes_on_with_the_blows_that_are_left(tmp_path):
    whole = Scripted(tmp_path / "whole", STEPS, 3)
    whole.run()
    stopped = Scripted(tmp_path / "stopped", STEPS, 3)
    stopped.dies_at = 300
    stopped.results.add("finished", run="alone", steps=STEPS, seconds=5)
    with pytest.raises(Refused, match="something"):
        stopped.run()
    assert not stopped.made["battered"].on
    before = len(stopped.results.of("blow"))
    again = Scripted(tmp_path / "stopped", STEPS, 3)
    for n in range(0, STEPS, 5):
        again.results.add("sample", run="alone", step=n, process=1, megabytes=5.0, handles=1,
                          children=1)  # fmt: skip
    assert again.run()
    kinds = [row["kind"] for row in again.results.of("blow", run="battered")]
    of_whole = [row["kind"] for row in whole.results.of("blow", run="battered")]
    assert 0 < before < len(kinds)
    assert kinds[: len(of_whole)] == of_whole[: len(kinds)]
    assert again.made["alone"].events == []


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({"differences": ["params"]}, "differences"),
        ({"left": {"lease": ["x/.lease"]}}, "left over"),
        ({"shared": ["sem.x"]}, "left in shared memory"),
        ({"megabytes": 1.5}, "growth in 100 steps"),
    ],
)
def test_whatever_is_wrong_is_named_in_the_figures(tmp_path, found, change, bad):
    vars(found).update(change)
    battery = Scripted(tmp_path / "soak", STEPS, 3)
    assert not battery.run()
    assert figures(battery)["bad"] == [bad]


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("spared", ["battered", "battered hosts"])
def test_runs_that_nothing_struck_prove_nothing(tmp_path, spared, monkeypatch):
    battery = Scripted(tmp_path / "soak", STEPS, 3)
    struck = battery._blows
    monkeypatch.setattr(
        battery, "_blows", lambda name, kinds: () if name == spared else struck(name, kinds)
    )
    assert not battery.run()
    assert figures(battery)["bad"] == ["blows"]


def test_a_disk_that_cannot_be_had_is_left_out_and_that_is_told(tmp_path, found, monkeypatch):
    monkeypatch.setattr(module, "why_none", lambda place: "needs root")
    battery = Scripted(tmp_path / "soak", STEPS, 3)
    assert battery.run()
    assert battery.results.of("left out") == [
        {**battery.results.of("left out")[0], "what": "disk", "why": "needs root"}
    ]
    assert "disk" not in figures(battery)["blows"]


def test_a_line_of_the_results_that_was_cut_off_counts_as_not_there(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    assert results.of("blow") == []
    results.add("blow", kind="main", step=3)
    results.add("sample", step=4)
    with results.path.open("a") as file:
        file.write('{"event": "blow", "ki')
    (row,) = results.of("blow")
    assert (row["kind"], row["step"]) == ("main", 3)
    assert results.of("blow", kind="disk") == []


def test_the_step_is_that_of_the_last_whole_line(tmp_path):
    assert step_of(tmp_path) == 0
    lines = "".join(json.dumps({"step": n, "pad": "x" * 900}) + "\n" for n in range(1, 101))
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 101')
    assert step_of(tmp_path) == 100
