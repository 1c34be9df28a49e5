"""Scenarios of sampling, updates, files, checkpoints and settings."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from etils import epath

from tests.guards.removal import Fault, hold, refused

# Sampling


def strategy(module, **fields):
    return module.Strategy(**fields).parameters()


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def a_policy_wants_to_write_an_image(module, directory):
    logits = np.zeros((8, 4), np.float32)
    logits[:, 3] = 50.0
    banned = np.array([False, False, False, True])
    tokens, _ = module.draw(logits, keys(8), strategy(module), ranked=False, banned=banned)
    hold(not (np.asarray(tokens) == 3).any(), "the policy writes a token that stands for an image")


def a_temperature_is_not_a_number(module, directory):
    refused(ValueError, "temperature", lambda: module.Strategy(temperature=float("nan")))


def a_temperature_is_tiny(module, directory):
    logits = np.array([[3e38, 3e38, -3e38]], np.float32)
    parameters = strategy(module, temperature=1e-20)
    _, logprobs = module.draw(logits, keys(1), parameters, ranked=False)
    hold(np.isfinite(np.asarray(logprobs)).all(), "the log-probability is NaN")


def response(module, limit=4, stop_tokens=(9,)):
    ending = module.Ending(stop_tokens, (), limit, str)
    one = module.Response()

    def extend(*tokens):
        return one.extend(np.array(tokens), np.zeros(len(tokens), np.float32), ending)

    return one, extend


def a_response_is_longer_than_the_limit(module, directory):
    one, extend = response(module)
    extend(1, 2, 3, 4, 5, 6)
    hold(len(one.tokens) == 4, f"a response of {len(one.tokens)} tokens for a limit of 4")


def a_response_goes_on_after_its_end(module, directory):
    one, extend = response(module)
    extend(1, 9, 2)
    hold(one.tokens == [1, 9], f"what follows the end is trained on: {one.tokens}")


def a_model_draws_pads_of_the_vocabulary(module, directory):
    processor = SimpleNamespace(vocab_size=5, banned_tokens=(1,))
    banned = module.Processor.banned_rows(processor, 8)
    hold(banned.tolist() == [False, True, False, False, False, True, True, True], str(banned))


# Updates


def a_gradient_is_not_a_number(module, directory):
    optimizer = module.make_optimizer(
        module.OptimizerConfig(learning_rate=0.1), 10, {"w": jnp.ones(2)}
    )
    params = {"w": jnp.ones(2)}
    moved, _, stats = module.apply_gradients(
        optimizer, params, optimizer.init(params), {"w": jnp.array([jnp.nan, 1.0])}
    )
    hold(np.isfinite(np.asarray(moved["w"])).all(), "one gradient ruins all parameters")
    hold(int(stats["optimizer/skipped"]) == 1, "nobody hears of it")


def a_gradient_ruins_the_moments(module, directory):
    params = {"w": jnp.ones(2)}
    optimizer = module.make_optimizer(module.OptimizerConfig(learning_rate=0.1), 10, params)
    bad = {"w": jnp.array([jnp.inf, 1.0])}
    _, state, _ = module.apply_gradients(optimizer, params, optimizer.init(params), bad)
    leaves = jax.tree.leaves(state)
    hold(all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves), "moments are NaN for ever")


def a_gradient_is_missing(module, directory):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    call = lambda: module._check_gradients(params, {"a": jnp.ones(2)})  # noqa: E731
    refused(ValueError, "expected one for each", call)


def updates_fail_for_ever(module, directory):
    loop = SimpleNamespace(
        max_skipped=3, max_logprob_gap=None, stepper=SimpleNamespace(check=print)
    )
    refused(FloatingPointError, "in a row", lambda: module.Loop._check(loop, 7, 3, 0.0))


def sampler_and_trainer_disagree(module, directory):
    stepper = SimpleNamespace(check=lambda: None)
    loop = SimpleNamespace(max_skipped=3, max_logprob_gap=1.0, stepper=stepper)
    for gap in (2.0, float("nan")):
        call = lambda gap=gap: module.Loop._check(loop, 7, 0, gap)  # noqa: E731
        refused(ValueError, "disagree", call)


def a_policy_is_ruined(module, directory):
    health = module.Health()
    for _ in range(3):
        health.see({"policy/entropy": 0.0})
    refused(ValueError, "the policy is ruined", lambda: health.check(3, 3))


def a_likely_token_explodes(module, directory):
    loss, _ = module.policy_loss(
        np.array([[0.0]]), np.array([[-1000.0]]), np.array([-1.0]), np.array([[True]]),
        dual_clip=None,
    )  # fmt: skip
    hold(np.isfinite(np.asarray(loss)).all(), "the loss is infinite")


def what_is_masked_is_not_a_number(module, directory):
    values, mask = jnp.array([1.0, jnp.nan]), jnp.array([True, False])
    hold(float(module.masked_mean(values, mask)) == 1.0, "a mean counts what is masked")


# Files


class Disk:
    """The functions of `os` on a disk that loses what was not synced when the power fails."""

    def __init__(self):
        self.synced: set[int] = set()
        self.lost: list[str] = []

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, handle):
        self.synced.add(os.fstat(handle).st_ino)
        os.fsync(handle)

    def replace(self, source, target):
        if os.stat(source).st_ino not in self.synced and Path(source).is_file():
            self.lost.append(str(target))
        os.replace(source, target)


def the_power_fails_after_a_file_has_its_name(module, directory):
    module.os = disk = Disk()
    module.write_whole(directory / "file", b"content")
    hold(not disk.lost, "the name is on the disk and the content is not")


def the_power_fails_and_the_name_is_lost(module, directory):
    module.os = disk = Disk()
    module.write_whole(directory / "file", b"content")
    hold(os.stat(directory).st_ino in disk.synced, "a file that was written may have no name")


def a_directory_loses_its_files(module, directory):
    module.os = disk = Disk()
    with module.whole_directory(directory / "new") as inside:
        (inside / "file").write_bytes(b"content")
    written = os.stat(directory / "new" / "file").st_ino
    hold(written in disk.synced, "the directory is there and its files are empty")


def writing_fails_in_the_middle(module, directory):
    try:
        with module.whole_file(directory / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    hold(not list(directory.iterdir()), "half a file stays")


def a_file_is_read_while_it_is_written(module, directory):
    (directory / "file").write_bytes(b"old")
    with module.whole_file(directory / "file") as file:
        file.write(b"new")
        file.flush()
        hold((directory / "file").read_bytes() == b"old", "a reader sees half of the new file")


def somebody_put_a_link_there(module, directory):
    victim = directory / "victim"
    victim.write_bytes(b"precious")
    module.secrets = SimpleNamespace(token_hex=lambda count: "0" * 2 * count)
    (directory / f".file.{'0' * 16}.partial").symlink_to(victim)
    with contextlib.suppress(FileExistsError):
        module.write_whole(directory / "file", b"new")
    hold(victim.read_bytes() == b"precious", "writes through a link that somebody else made")


def the_name_of_a_temporary_file_is_known(module, directory):
    names = set()
    for _ in range(2):
        with module.whole_file(directory / "file"):
            names |= {path.name for path in directory.glob(".file*")}
    hold(len(names) == 2, f"anyone can guess it: {names}")


def two_processes_use_one_directory(module, directory):
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, directory / ".lock"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == b"held\n"

        def take():
            with module.lock(directory, "workdir"):
                pass

        refused(module.LockError, "in use by", take)
        other.stdin.close()


def one_process_locks_twice(module, directory):
    def twice():
        with module.lock(directory, "workdir"), module.lock(directory, "workdir"):
            pass

    refused(module.LockError, "in use by this process", twice)


def a_file_is_nested_without_end(module, directory):
    (directory / "file.json").write_text("[" * 100_000)
    call = lambda: module.read_object(directory / "file.json")  # noqa: E731
    refused(ValueError, "file.json: expected JSON", call)


class Full:
    """A file of a disk that takes half of a line."""

    def __init__(self, file):
        self._file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        if len(content) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(content[: len(content) // 2])


def a_disk_is_full_in_the_middle_of_a_line(module, directory):
    path = directory / "log.jsonl"
    log = module.ResumableLog(path, "step")
    log.add(1, {"value": 1})
    whole = path.read_bytes()

    class FullPath(type(path)):
        def open(self, mode="r", **options):
            file = super().open(mode, **options)
            return Full(file) if mode == "ab" else file

    log._path = FullPath(path)
    with contextlib.suppress(OSError):
        log.add(2, {"value": 2})
    hold(path.read_bytes() == whole, "the next line follows half of one")


def a_step_is_logged_twice(module, directory):
    path = directory / "log.jsonl"
    module.ResumableLog(path, "step").extend(1, [{"value": 1}])
    again = module.ResumableLog(path, "step")
    again.add(1, {"value": 2})
    hold([row["value"] for row in again.rows()] == [2], "a resumed run has its rows twice")


def a_log_is_cut_off_by_a_kill(module, directory):
    path = directory / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "va')
    try:
        rows = list(module.ResumableLog(path, "step").rows())
    except ValueError as error:
        raise Fault(f"the run cannot be read any more: {error!r}") from error
    hold(rows == [{"step": 1}], str(rows))


# Checkpoints


def record(module):
    leaf = module.Leaf((2,), "float32", "0" * 16)
    return module.StepRecord(3, 0.5, {"data": "x"}, [{"next": 1}], {"w": leaf})


def a_record_was_changed(module, directory):
    value = {**record(module).to_json(), "metric": 1.0}
    refused(ValueError, "was changed", lambda: module.StepRecord.from_json(value))


def a_record_is_of_a_later_version(module, directory):
    module._VERSION = 2
    value = record(module).to_json()
    module._VERSION = 1
    refused(ValueError, "version", lambda: module.StepRecord.from_json(value))


def a_state_is_not_a_number(module, directory):
    refused(ValueError, "what JSON can hold", lambda: module.check_json("host", float("nan")))


def a_state_comes_back_as_another(module, directory):
    refused(ValueError, "gives back", lambda: module.check_json("host", {1: "x"}))


def a_checkpoint_is_of_another_run(module, directory):
    call = lambda: module.check_fingerprint("place", {"data": "x"}, {"data": "y"})  # noqa: E731
    refused(module.FingerprintError, "belongs to another run", call)


class Steps:
    """The files of one step, as they were written, or with other numbers."""

    directory = "checkpoints"

    def __init__(self, arrays, damaged=None):
        from perl_jax.training.checkpoint.leaves import leaf_records
        from perl_jax.training.checkpoint.record import StepRecord

        self._arrays = damaged or arrays
        leaves = leaf_records(arrays, arrays)
        self._record = StepRecord(3, None, {}, [{}], leaves)
        self.saved = []

    def path(self, step):
        return f"checkpoints/{step}"

    def steps(self):
        return [3]

    def record(self, step):
        return self._record

    def arrays(self, step, abstract):
        return self._arrays

    def save(self, step, items):
        self.saved.append(step)


def checkpoints(module, files, lease=None):
    from perl_jax.training.checkpoint.config import CheckpointConfig

    made = object.__new__(module.Checkpoints)
    vars(made).update(
        _config=CheckpointConfig(every=1), _fingerprint={}, _lease=lease, _files=files,
        _pending=None, _protected=frozenset(), _metrics={},
    )  # fmt: skip
    return made


def a_bit_of_a_checkpoint_flips(module, directory):
    good, bad = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([1.0, -2.0])}
    made = checkpoints(module, Steps(good, bad))
    call = lambda: made._read(3, good, {}, False, None)  # noqa: E731
    refused(ValueError, "checksums differ", call)


def a_checkpoint_holds_other_arrays(module, directory):
    made = checkpoints(module, Steps({"w": jnp.ones(2)}))
    wanted = {"w": jnp.ones(2, jnp.int32)}
    call = lambda: made._read(3, wanted, {}, False, None)  # noqa: E731
    refused(ValueError, "other arrays than expected", call)


def a_job_lost_its_lease(module, directory):
    class Lost:
        def check(self):
            raise module.CheckpointError("another job has taken it")

    files = Steps({"w": jnp.ones(2)})
    made = checkpoints(module, files, Lost())
    call = lambda: made.save(4, {"w": jnp.ones(2)}, {})  # noqa: E731
    refused(module.CheckpointError, "another job has taken it", call)


def all_steps_are_damaged(module, directory):
    good, bad = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([1.0, -2.0])}
    made = checkpoints(module, Steps(good, bad))
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), good)
    made.wait = lambda: None
    refused(module.CheckpointError, "no usable checkpoint", lambda: made.restore(like))


def a_step_holds_the_record_of_another(module, directory):
    from perl_jax.training.checkpoint.record import StepRecord

    module.ocp = SimpleNamespace(
        JsonCheckpointHandler=lambda: SimpleNamespace(restore=lambda path: {}),
        path=module.ocp.path,
    )
    module.StepRecord = SimpleNamespace(from_json=lambda value: StepRecord(2, None, {}, [], {}))
    files = module.StepFiles(epath.Path(directory))
    refused(ValueError, "the record is that of step 2", lambda: files.record(3))


def metadata_on_the_disk_differ(module, directory):
    from perl_jax.training.checkpoint.record import StepRecord

    files = module.StepFiles(epath.Path(directory))
    written = StepRecord(3, None, {}, [], {})
    files.record = lambda step: replace(written, metric=1.0)
    module.ocp = SimpleNamespace(
        StandardCheckpointHandler=lambda: SimpleNamespace(
            metadata=lambda path: SimpleNamespace(tree={})
        ),
        path=module.ocp.path,
    )
    refused(ValueError, "not the one that was written", lambda: files.check(written, {}))


def lease(module, directory, **options):
    return module.Lease(epath.Path(directory), "run", expiry=1.0, renewal=60.0, **options)


def a_job_on_this_machine_still_runs(module, directory):
    with lease(module, directory):
        other = lease(module, directory)
        other._expiry = 0.1

        def take():
            with other:
                pass

        refused(module.LeaseError, "in use by process", take)


def another_job_has_taken_the_lease(module, directory):
    with lease(module, directory) as held:
        owner = json.loads((directory / module.LEASE).read_text())
        (directory / module.LEASE).write_text(json.dumps({**owner, "token": "other"}))
        refused(module.LeaseError, "has taken over", held.check)


def two_jobs_write_a_lease_at_once(module, directory):
    first, second = lease(module, directory), lease(module, directory)
    free = first._answer(first._store.read(module.LEASE)).stamp.generation
    assert first._write(free)
    hold(not second._write(free), "both jobs have the lease")


def a_store_of_leases_is_silent(module, directory):
    module._POLL_SECONDS = module._ANSWER_SECONDS = 0.05

    class Silent:
        asked = 0

        def result(self, timeout):
            self.asked += 1
            if self.asked > 20:
                return "late"
            time.sleep(timeout)
            raise TimeoutError

    refused(TimeoutError, "no answer within", lambda: lease(module, directory)._answer(Silent()))


def a_lease_holds_anything(module, directory):
    owner = module.Owner.me("run")
    content = json.dumps({**vars(owner), "renewed": "now"}).encode()
    hold(module.Owner.read(content) is None, "a damaged lease keeps every job out")


def a_prediction_is_cut_off_by_a_kill(module, directory):
    path = directory / "predictions.jsonl"
    path.write_bytes(b'{"id": "1"}\n{"id": "2", "resp')
    lines = module.JsonLines(path)
    try:
        lines.read()
        lines.add([{"id": "2"}])
        rows = lines.read()
    except ValueError as error:
        raise Fault(f"the evaluation cannot go on: {error}") from error
    hold([row["id"] for row in rows] == ["1", "2"], str(rows))


def a_prediction_is_no_object(module, directory):
    path = directory / "predictions.jsonl"
    path.write_bytes(b"[1]\n")
    refused(ValueError, "predictions.jsonl:1: expected an object", module.JsonLines(path).read)


# Settings


def section(module):
    @dataclass(frozen=True)
    class Section(module.Checked):
        share: float = 0.5
        count: Annotated[int, Ge(1)] = 1

    return Section


def a_setting_is_not_a_number(module, directory):
    refused(ValueError, "a finite number", lambda: section(module)(share=float("nan")))


def a_setting_is_out_of_its_range(module, directory):
    refused(ValueError, "at least 1", lambda: section(module)(count=0))


def a_setting_is_true(module, directory):
    refused(ValueError, "count: expected int", lambda: section(module)(count=True))


def a_setting_is_misspelt(module, directory):
    call = lambda: module.read_config(section(module), {"shares": 0.1})  # noqa: E731
    refused(ValueError, "did you mean 'share'", call)


def a_flag_is_python(module, directory):
    marker = directory / "marker"
    text = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    module.FlagText(text).literal()
    hold(not marker.exists(), "a flag was evaluated")
