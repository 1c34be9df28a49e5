"""Reading from a bucket that fails: tried again and read, or one line with the URL, in time."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest

from perl_jax import storage
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.main import one_line_errors
from perl_jax.storage import StorageError, read_range
from tests.bucket import NAME
from tests.data.sources.parquet_files import verl_row, write_verl
from tests.faulty_bucket import RESET, SILENCE, faulty_bucket
from tests.s3_bucket import NAME as S3_NAME
from tests.s3_bucket import running_s3_bucket

ROOT = Path(__file__).parents[1]
URL = f"gs://{NAME}/rows.parquet"
# Ends while a thread of pyarrow reads; its interpreter takes its time, so that the thread meets it.
ENDS_WHILE_READING = """
import sys, threading, time
import pyarrow.parquet as pq
from perl_jax import storage

class Late:
    def __del__(self, sleep=time.sleep):
        sleep(1.5)

storage.late = Late()
file = pq.ParquetFile(storage.open_ranges(sys.argv[1]), pre_buffer=True)
print("opened", flush=True)
sys.stdin.readline()
storage._under_way.clear()
threading.Thread(target=file.read_row_group, args=(0,), daemon=True).start()
while not storage._under_way:
    time.sleep(0.01)
sys.exit(3)
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows whose columns are far apart, so that they are read by several threads."""
    image = [{"bytes": os.urandom(50_000), "path": None}]
    given = [verl_row(n, images=image) for n in range(32)]
    return write_verl(tmp_path_factory.mktemp("rows") / "rows.parquet", given, row_group_size=16)


@pytest.fixture(scope="module")
def running(rows):
    with faulty_bucket() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        fsspec.filesystem("gs").put_file(str(rows), URL.removeprefix("gs://"))
        yield server


@pytest.fixture
def bucket(running, monkeypatch):
    monkeypatch.setattr(storage, "_DELAYS", (0.01, 0.01))
    running.asked.clear()
    yield running
    running.fault = lambda method, path: None


def failing(server, fault, times):
    """The first reads of content fail, so many times."""
    left = [times]

    def of_request(method, path):
        if method == "GET" and "/download/" in path and left[0]:
            left[0] -= 1
            return fault
        return None

    server.fault = of_request


@pytest.mark.parametrize("fault", [503, RESET, 0.2], ids=str)
def test_a_read_that_fails_once_or_is_slow_is_read(bucket, rows, fault):
    failing(bucket, fault, 1)
    assert read_range(URL, 0, 4) == rows.read_bytes()[:4]


def test_a_file_that_is_gone_is_told_by_its_url(bucket):
    failing(bucket, 404, 100)
    with pytest.raises(FileNotFoundError, match=URL):
        read_range(URL, 0, 4)


@pytest.mark.parametrize("fault", [403, SILENCE], ids=str)
def test_a_bucket_that_refuses_or_does_not_answer_is_told_by_the_url_in_time(
    bucket, fault, monkeypatch
):
    monkeypatch.setattr(storage, "_TRY_SECONDS", 0.2)
    monkeypatch.setattr(storage, "_PATIENCE_SECONDS", 0.1)
    failing(bucket, fault, 100)
    with pytest.raises(StorageError, match=rf"{URL}: cannot be read, at \d tr") as caught:
        read_range(URL, 0, 4)
    assert ("no answer within 0.2 s" if fault == SILENCE else "Forbidden") in str(caught.value)


def test_a_process_ends_with_its_own_status_while_threads_of_pyarrow_read(bucket):
    """Or else the interpreter is aborted, with ``terminate called without an active exception``."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDS_WHILE_READING, URL],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "opened\n"
        bucket.fault = lambda method, path: 1.0
        _, err = process.communicate("go on\n", timeout=120)
    assert process.returncode == 3, err


def test_a_command_tells_a_failing_bucket_in_one_line(bucket, caplog, capsys):
    failing(bucket, 409, 100)
    with pytest.raises(SystemExit), one_line_errors():
        read_range(URL, 0, 4)
    said = capsys.readouterr().err
    # An earlier test of the process may have set up logging: its lines are below.
    (line,) = (line for line in said.splitlines() if "next try in" not in line)
    assert line.startswith(f"error: {URL}: cannot be read, at 3 tries: HttpError: ")
    # No tracebacks of the client for what is told here.
    assert {record.name for record in caplog.records} == {"perl_jax.storage"}


def test_a_new_directory_is_copied_to_a_url_and_a_model_only_when_whole(bucket, tmp_path):
    url = f"gs://{NAME}/exported"
    with storage.new_directory(url) as directory:
        directory.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (directory / name).write_text(name)
    written = [path for method, path in bucket.asked if method == "POST"]
    assert len(written) == 3
    system = fsspec.filesystem("gs")
    assert system.cat_file(f"{NAME}/exported/tokenizer.json") == b"tokenizer.json"
    assert not directory.exists()
    with pytest.raises(FileExistsError, match=url), storage.new_directory(url):
        pass
    with storage.new_directory(str(tmp_path / "near")) as directory:
        assert directory == tmp_path / "near"

    posts = []

    def refuse_the_last(method, path):
        posts.extend([path] * (method == "POST"))
        return 403 if method == "POST" and len(posts) == 3 else None

    bucket.fault = refuse_the_last
    with ExitStack() as stack:
        directory = stack.enter_context(storage.new_directory(f"{url}-2"))
        directory.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (directory / name).touch()
        with pytest.raises(StorageError, match=f"{url}-2/config.json: cannot be written: "):
            stack.close()


def test_rows_in_s3_are_those_on_the_disk(rows, monkeypatch):
    with running_s3_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").put_file(str(rows), f"{S3_NAME}/rows.parquet")
        remote = ParquetSource(f"s3://{S3_NAME}/rows.parquet")
        local = ParquetSource(rows)
        assert [remote[n].images for n in (0, 31)] == [local[n].images for n in (0, 31)]
        assert remote.fingerprint() == local.fingerprint()
        with pytest.raises(FileNotFoundError, match=f"s3://{S3_NAME}/none.parquet"):
            ParquetSource(f"s3://{S3_NAME}/none.parquet")
