"""Checkpoints on ``s3://``: copied whole, deleted there too, and read on a machine without any."""

import http.server
import json
import threading
from contextlib import ExitStack, contextmanager

import fsspec
import pytest
from etils import epath

from perl_jax import storage
from perl_jax.readiness import place_faults
from perl_jax.storage import RemoteFolder, StorageError
from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.checkpoint import lease as lease_module
from perl_jax.training.checkpoint.lease import Lease, LeaseError
from perl_jax.training.checkpoint.mirror import COMPLETE, open_steps
from perl_jax.training.checkpoint.s3_store import Found, S3Store, Stamp
from perl_jax.training.earlier import settle
from perl_jax.training.places import open_place
from perl_jax.training.start import Start
from tests.s3_bucket import NAME, running_s3_bucket
from tests.training.checkpoint.checkpoint_states import abstract, assert_same, simple_state

CONFIG = CheckpointConfig(every=1, keep_last=1, keep_best=1)
PRINT = {"a": 1}


def forget_clients():
    """Clients are remembered with the address of a server that is gone."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module", autouse=True)
def running():
    with running_s3_bucket() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        forget_clients()
        yield
    forget_clients()


@pytest.fixture
def url(request):
    return f"s3://{NAME}/{request.node.name.partition('[')[0]}/checkpoints"


@pytest.fixture
def staging(tmp_path):
    return tmp_path / "staging"


def opened(url, staging=None, config=CONFIG):
    return Checkpoints(url, config, fingerprint=PRINT, staging=staging)


def save(checkpoints, step, metric=None):
    assert checkpoints.save(step, simple_state(step), {"n": step}, metric=metric)


def assert_restores(url, step, staging=None):
    with opened(url, staging) as checkpoints:
        restored = checkpoints.restore(abstract(simple_state(step)))
    assert (restored.step, restored.host) == (step, {"n": step})
    assert_same(restored.arrays, simple_state(step))


def steps_in(url):
    return {int(name.partition("/")[0]) for name in RemoteFolder(url).sizes()}


def on_disk(staging):
    return sorted(path.name for path in staging.iterdir())


def test_a_machine_with_nothing_on_its_disk_goes_on_with_the_same_bits(url, staging, tmp_path):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
        save(checkpoints, 2)
    assert_restores(url, 2, tmp_path / "other")
    assert on_disk(tmp_path / "other") == ["2"]
    # And so does a reader, which keeps nothing.
    assert_restores(url, 2)
    assert settle(tmp_path, epath.Path(url), CONFIG)
    assert not (tmp_path / "s3:").exists()


def test_a_step_in_the_bucket_has_the_files_of_one_on_a_disk(url, staging, tmp_path):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    near = tmp_path / "near"
    fsspec.filesystem("s3").get(url.removeprefix("s3://"), str(near), recursive=True)
    assert_restores(near, 1)


def test_what_is_not_kept_is_deleted_in_the_bucket_and_the_best_is_read_from_it(
    url, staging, tmp_path
):
    with opened(url, staging) as checkpoints:
        for step, metric in enumerate((0.5, 0.9, 0.1, 0.2), 1):
            save(checkpoints, step, metric)
    assert steps_in(url) == {2, 4}
    with opened(url, tmp_path / "other") as checkpoints:
        assert (checkpoints.best_step(), checkpoints.latest_step()) == (2, 4)
        assert not (tmp_path / "other").exists()
        best = checkpoints.restore(abstract(simple_state(2)), 2)
        assert_same(best.arrays, simple_state(2))
        # The newer step is no part of what goes on from here.
        save(checkpoints, 3)
    assert steps_in(url) == {2, 3}


def test_a_step_without_its_last_file_does_not_count_and_goes_at_the_next_save(url, staging):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    leave_uncopied(url, staging, 2, "write")
    assert steps_in(url) == {1, 2}
    assert open_steps(epath.Path(url)).seen() == [1]
    with opened(url) as checkpoints:
        assert checkpoints.steps() == [1]
    assert_restores(url, 1)
    with opened(url, staging) as checkpoints:
        checkpoints.restore(abstract(simple_state(1)))
        save(checkpoints, 3)
    assert steps_in(url) == {3}


@pytest.mark.parametrize("name", ["../../outside", "/outside", "a/../../../outside"])
def test_a_step_that_names_files_outside_of_it_is_not_fetched(url, staging, tmp_path, name):
    url = f"{url}/{name.count('/')}"
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    folder = RemoteFolder(url)
    marker = json.loads(folder.read(f"1/{COMPLETE}"))
    folder.write(
        f"1/{COMPLETE}", json.dumps({**marker, "files": {**marker["files"], name: 1}}).encode()
    )
    with (
        opened(url, tmp_path / "other" / "staging") as checkpoints,
        pytest.raises(CheckpointError, match=r"expected names of files below it; got '1/.*outside"),
    ):
        checkpoints.restore(abstract(simple_state(1)))
    assert not list(tmp_path.rglob("outside"))


def test_the_last_file_is_written_when_the_others_are_there_and_deleted_before_them(
    url, staging, monkeypatch
):
    done = []
    for name in ("put", "write", "delete"):
        method = getattr(RemoteFolder, name)

        def told(self, *arguments, name=name, method=method):
            if arguments[-1:] != ([],):
                done.append((name, str(arguments[0 if name != "put" else 1])))
            method(self, *arguments)

        monkeypatch.setattr(RemoteFolder, name, told)
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
        save(checkpoints, 2)
    kinds = [kind for kind, _ in done]
    first = kinds.index("write")
    assert set(kinds[:first]) == {"put"}
    assert done[first][1] == f"1/{COMPLETE}"
    deletions = [names for kind, names in done if kind == "delete"]
    assert deletions[0] == f"['1/{COMPLETE}']"
    assert len(deletions) == 2
    assert COMPLETE not in deletions[1]


def test_a_copy_that_fails_is_tried_again_at_the_next_save(url, staging, monkeypatch, caplog):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
        checkpoints.wait()
        with monkeypatch.context() as patch:
            patch.setattr(RemoteFolder, "put", failing("refused"))
            save(checkpoints, 2)
            save(checkpoints, 3)
            # Nothing is deleted there before newer steps are complete.
            assert steps_in(url) == {1}
        assert f"{url} is not up to date, the next save tries again: " in caplog.text
        save(checkpoints, 4)
        checkpoints.wait()
        assert steps_in(url) == {4}
    assert_restores(url, 4)


def test_a_run_whose_last_step_cannot_be_copied_ends_with_an_error_and_has_it_on_the_disk(
    url, staging, monkeypatch
):
    monkeypatch.setattr(RemoteFolder, "put", failing("refused"))
    with pytest.raises(CheckpointError) as caught, opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{url} is behind the checkpoints of this run, which are in {staging} (")
    assert line.endswith("StorageError: refused")
    assert f"--config.checkpoint.directory={staging} " in line
    assert_restores(staging, 1)


def test_steps_that_cannot_be_deleted_are_told_at_the_end(url, staging, monkeypatch):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    monkeypatch.setattr(RemoteFolder, "delete", failing("may not delete"))
    with (
        pytest.raises(CheckpointError, match="may not delete"),
        opened(url, staging) as checkpoints,
    ):
        save(checkpoints, 2)
    assert steps_in(url) == {1}


def test_steps_on_the_disk_do_not_count_if_another_machine_has_gone_on(
    url, staging, tmp_path, caplog
):
    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    leave_uncopied(url, staging, 2, "put")
    with opened(url, tmp_path / "other") as checkpoints:
        checkpoints.restore(abstract(simple_state(1)))
        save(checkpoints, 2)
        save(checkpoints, 5)
    assert on_disk(staging) == ["2"]
    with opened(url, staging) as checkpoints:
        assert checkpoints.restore(abstract(simple_state(5))).step == 5
        save(checkpoints, 6)
    assert f"{staging}/2 was never copied to {url} and goes" in caplog.text
    assert on_disk(staging) == ["6"]
    assert steps_in(url) == {6}


def test_a_step_on_the_disk_is_fetched_again_only_if_it_is_another_one(url, staging, monkeypatch):
    fetched = []
    fetch = RemoteFolder.fetch

    def told(self, name, size, target):
        if "/record/" not in name:
            fetched.append(name)
        fetch(self, name, size, target)

    with opened(url, staging) as checkpoints:
        save(checkpoints, 1)
    monkeypatch.setattr(RemoteFolder, "fetch", told)
    assert_restores(url, 1, staging)
    assert fetched == []
    with opened(url, staging) as checkpoints:
        assert not checkpoints.save(1, simple_state(1), {})
    marker = json.loads((staging / "1" / COMPLETE).read_bytes())
    (staging / "1" / COMPLETE).write_text(json.dumps(marker | {"copy": "another"}))
    assert_restores(url, 1, staging)
    assert len(fetched) > 3


def test_two_jobs_do_not_write_to_one_folder(url):
    with Lease(epath.Path(url), "/runs/mine") as lease:
        lease.check()
        with pytest.raises(LeaseError, match=r"in use by process .* \(workdir /runs/mine"):
            Lease(epath.Path(url), "/runs/other").__enter__()
        RemoteFolder(url).write(".lease", b"{}")
        with pytest.raises(LeaseError, match="another job has taken over"):
            lease.check()
    # Another job's lease is left alone.
    assert list(RemoteFolder(url).sizes()) == [".lease"]


def test_of_two_writes_at_once_the_bucket_takes_one_and_a_repeated_one_counts(url, monkeypatch):
    store = S3Store(url)
    missing = store.read("a").result().stamp.generation
    written = store.write("a", b"1", if_equal=missing).result().generation
    read = store._read
    unseen = []

    async def too_early(name):
        """Each write looks before another one came."""
        if unseen:
            return unseen.pop()
        return await read(name)

    monkeypatch.setattr(store, "_read", too_early)
    for generation in (missing, b'"another"'):
        for value, answer in ((b"2", b""), (b"1", written)):
            unseen.append(Found("value", b"", Stamp(generation)))
            assert store.write("a", value, if_equal=generation).result().generation == answer
    assert store.read("a").result().value == b"1"


def test_several_hosts_are_refused(url, tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    config = CheckpointConfig(directory=url)
    with ExitStack() as stack, pytest.raises(ValueError, match=f"got {url} and 2 hosts"):
        open_place(config, tmp_path, Start(), stack)


def test_a_lease_is_given_back(url):
    with Lease(epath.Path(url), "/runs/mine"):
        assert list(RemoteFolder(url).sizes()) == [".lease"]
    assert RemoteFolder(url).sizes() == {}


def test_a_bucket_that_is_not_there_is_told_by_its_url(tmp_path):
    (fault,) = place_faults(epath.Path("s3://none/run/checkpoints"))
    assert "got s3://none/run/checkpoints: s3://none/run/" in fault.message
    assert list(place_faults(epath.Path(f"s3://{NAME}/run/checkpoints"))) == []
    with pytest.raises(LeaseError, match=r"s3://none/run/checkpoints, where \.lease cannot be"):
        Lease(epath.Path("s3://none/run/checkpoints"), "/runs/mine").__enter__()


@pytest.mark.parametrize("silent", [False, True])
def test_a_bucket_that_refuses_or_is_silent_is_told_by_its_url_in_time(silent, monkeypatch):
    if silent:
        monkeypatch.setattr(storage, "_TRY_SECONDS", 0.5)
        monkeypatch.setattr(storage, "_PATIENCE_SECONDS", 0.1)
        monkeypatch.setattr(lease_module, "_ANSWER_SECONDS", 0.5)
    url = epath.Path("s3://bad/run/checkpoints")
    said = "no answer within 0.5 s" if silent else "(Forbidden|Access|denied|403)"
    with bad_bucket(silent, monkeypatch):
        with pytest.raises(LeaseError, match=f"got {url}, where .lease cannot .*{said}"):
            Lease(url, "/runs/mine").__enter__()
        with pytest.raises(OSError, match=f"{url}.*{said}"):
            opened(url)
        (fault,) = place_faults(url)
        assert f"got {url}: s3://bad/run/" in fault.message


@contextmanager
def bad_bucket(silent, monkeypatch):
    end = threading.Event()

    class Answer(http.server.BaseHTTPRequestHandler):
        def answer(self):
            if silent:
                end.wait()
            else:
                self.send_error(403)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        forget_clients()
        yield
        end.set()
        server.shutdown()
        thread.join()
    forget_clients()


def leave_uncopied(url, staging, step, method):
    """What a process leaves that ends while it copies a step."""
    checkpoints = opened(url, staging)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemoteFolder, method, failing("gone"))
        save(checkpoints, step)
        with pytest.raises(CheckpointError, match="gone"):
            checkpoints.close()


def failing(message):
    def fail(self, *arguments):
        raise StorageError(message)

    return fail
