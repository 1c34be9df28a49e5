"""Files in buckets: what is fetched, what is tried again, and what is refused."""

import json
import logging
import pickle

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from perl_jax.data import BadRow, ColumnsConfig, JsonlSource, ParquetSource
from perl_jax.storage import StorageError, find_files, open_file, open_ranges, read_range

COLUMNS = ColumnsConfig(question="q", answer="a", images=("images",))


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket; what it fetches is noted as (path, bytes)."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    fetch = MemoryFileSystem.cat_file

    def noted(self, path, start=None, end=None, **options):
        data = fetch(self, path, start=start, end=end, **options)
        system.fetched.append((self._strip_protocol(path), len(data)))
        return data

    system.fetched = []
    monkeypatch.setattr(MemoryFileSystem, "cat_file", noted)
    monkeypatch.setattr("perl_jax.storage._DELAYS", (0.0, 0.0, 0.0))
    yield system
    system.store.clear()


def rows(count=6, images=()):
    return [{"q": f"{n}?", "a": str(n), "images": list(images)} for n in range(count)]


def put_parquet(bucket, path, table, **options):
    with bucket.open(path, "wb") as file:
        pq.write_table(table, file, **options)


def put_jsonl(bucket, path, given):
    bucket.pipe_file(path, "".join(json.dumps(row) + "\n" for row in given).encode())


def test_parquet_and_jsonl_read_as_they_do_from_a_disk(bucket, tmp_path):
    table = pa.Table.from_pylist(rows(images=["a.png"]))
    put_parquet(bucket, "/data/x.parquet", table, row_group_size=2)
    put_jsonl(bucket, "/data/x.jsonl", rows(images=["a.png"]))
    bucket.pipe_file("/data/images/a.png", b"png")
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    (tmp_path / "x.jsonl").write_bytes(bucket.cat_file("/data/x.jsonl"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"png")
    for kind, name in ((ParquetSource, "x.parquet"), (JsonlSource, "x.jsonl")):
        remote, local, by_url = (
            kind(f"{root}/{name}", columns=COLUMNS, image_root=f"{root}/images")
            for root in ("memory://data", tmp_path, f"file://{tmp_path}")
        )
        for n in range(6):
            assert remote[n] == local[n] == by_url[n]
        assert remote[3].images == (b"png",)
        assert remote.fingerprint() == local.fingerprint() == by_url.fingerprint()
        copy = pickle.loads(pickle.dumps(remote))
        assert [copy[n] for n in range(6)] == [local[n] for n in range(6)]


def test_patterns_stand_for_the_files_of_a_bucket(bucket):
    for name in ("b-1", "a-2", "a-1"):
        put_jsonl(bucket, f"/data/{name}.jsonl", rows(1))
    assert find_files(["memory://data/a-*.jsonl", "memory://data/b-1.jsonl"]) == [
        "memory:///data/a-1.jsonl",
        "memory:///data/a-2.jsonl",
        "memory:///data/b-1.jsonl",
    ]
    for path in ("memory://data/gone.jsonl", "memory://data/gone-*.jsonl", "memory://data"):
        with pytest.raises(
            FileNotFoundError, match=rf"{path[:20]}.*: no such file, and no pattern"
        ):
            JsonlSource(path, columns=COLUMNS)


def test_of_parquet_only_the_row_groups_that_are_asked_for_are_fetched(bucket):
    noise = [bytes([n]) * 50_000 for n in range(40)]
    table = pa.table({"q": ["?"] * 40, "a": range(40), "images": noise, "other": noise})
    put_parquet(
        bucket, "/x.parquet", table, row_group_size=2, compression="none", use_dictionary=False
    )
    size = bucket.size("/x.parquet")
    assert size > 4e6
    source = ParquetSource("memory://x.parquet", columns=COLUMNS, cache_bytes=1)
    opening = sum(count for _, count in bucket.fetched)
    # The fingerprint's sample is half a megabyte; footers and answers are little.
    assert opening < 8 * 2**16 + 200_000 < size / 4
    bucket.fetched.clear()
    assert source[21].images == (noise[21],)
    assert sum(count for _, count in bucket.fetched) < 120_000
    assert len(bucket.fetched) <= 4


def test_of_jsonl_one_line_is_fetched(bucket):
    given = [{**row, "x": "x" * 1000} for row in rows(50)]
    put_jsonl(bucket, "/x.jsonl", given)
    source = JsonlSource("memory://x.jsonl", columns=COLUMNS)
    bucket.fetched.clear()
    assert source[40].answer == "40"
    assert [count for _, count in bucket.fetched] == [len(json.dumps(given[40])) + 1]


@pytest.mark.parametrize("opened", [open_ranges, open_file])
def test_an_open_file_seeks_and_reads_like_one_on_a_disk(bucket, tmp_path, opened):
    data = bytes(range(256)) * 10_000
    bucket.pipe_file("/x", data)
    (tmp_path / "x").write_bytes(data)
    with opened("memory://x") as remote, open_file(str(tmp_path / "x")) as local:
        for file in (remote, local):
            assert file.read(3) == data[:3]
            assert file.seek(-5, 2) == len(data) - 5
            assert file.read(99) == data[-5:]
            assert file.read(1) == b""
            file.seek(1_500_000)
            assert (file.read(10), file.tell()) == (data[1_500_000:1_500_010], 1_500_010)
            file.seek(7, 1)
            assert file.readline() == data[1_500_017 : data.index(b"\n", 1_500_017) + 1]


def failing(monkeypatch, errors):
    """Lets the next reads of the bucket fail with these errors, one each; None is no error."""
    fetch = MemoryFileSystem.cat_file

    def broken(self, path, **options):
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error
        return fetch(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", broken)


class HttpError(Exception):
    """As clients of buckets have: no OSError."""


@pytest.mark.reliability("F36")
def test_a_failure_that_passes_is_tried_again_and_counted(bucket, monkeypatch, caplog):
    put_jsonl(bucket, "/x.jsonl", rows())
    source = JsonlSource("memory://x.jsonl", columns=COLUMNS)
    errors = [TimeoutError("slow"), HttpError("503"), ConnectionResetError("reset")]
    failing(monkeypatch, errors)
    with caplog.at_level(logging.WARNING):
        assert source[2].answer == "2"
    assert errors == []
    counts = [record.args[1] for record in caplog.records]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    assert "memory:///x.jsonl: a read failed" in caplog.text
    assert "HttpError: 503" in caplog.text


@pytest.mark.reliability("F36")
def test_after_the_last_try_the_error_names_the_file_and_ends_the_run(bucket, monkeypatch):
    put_jsonl(bucket, "/x.jsonl", rows(images=["a.png"]))
    put_parquet(bucket, "/x.parquet", pa.Table.from_pylist(rows(images=["a.png"])))
    bucket.pipe_file("/images/a.png", b"png")
    options = {"columns": COLUMNS, "image_root": "memory://images"}
    sources = [JsonlSource("memory://x.jsonl", **options)]
    sources += [ParquetSource("memory://x.parquet", **options)]
    failing(monkeypatch, [HttpError("503")] * 1000)
    for source, name in zip(sources, ("x.jsonl", "x.parquet"), strict=True):
        with pytest.raises(OSError, match=rf"{name}.*cannot be read.*4 tries: HttpError: 503"):
            pickle.loads(pickle.dumps(source))[0]


@pytest.mark.parametrize("good", range(3))
def test_a_bucket_that_fails_while_parquet_is_opened_is_no_broken_file(bucket, monkeypatch, good):
    put_parquet(bucket, "/x.parquet", pa.Table.from_pylist(rows()))
    failing(monkeypatch, [None] * good + [HttpError("503")] * 1000)
    with pytest.raises(StorageError, match=r"x\.parquet: cannot be read, at 4 tries"):
        ParquetSource("memory://x.parquet", columns=COLUMNS)


def test_an_image_that_cannot_be_fetched_is_no_bad_row(bucket, monkeypatch):
    put_jsonl(bucket, "/x.jsonl", rows(images=["a.png"]))
    bucket.pipe_file("/images/a.png", b"png")
    source = JsonlSource("memory://x.jsonl", columns=COLUMNS, image_root="memory://images")
    failing(monkeypatch, [HttpError("503")])
    assert source[0].images == (b"png",)
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_, **__: 1 / 0)
    with pytest.raises(StorageError, match=r"images/a\.png: cannot be read"):
        source[0]


def test_an_answer_that_is_too_short_is_tried_again(bucket, monkeypatch):
    bucket.pipe_file("/x", bytes(range(100)))
    fetch, calls = MemoryFileSystem.cat_file, []

    def cut(self, path, start=None, end=None):
        calls.append(end)
        return fetch(self, path, start=start, end=end - 5 if len(calls) < 3 else end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cut)
    assert read_range("memory://x", 10, 90) == bytes(range(10, 90))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret.png", "unsafe_path"),
        ("deep/../../secret.png", "unsafe_path"),
        ("/secret.png", "unsafe_path"),
        ("memory://secret.png", "unsafe_path"),
        ("file:///etc/passwd", "unsafe_path"),
        ("http://localhost/a.png", "unsafe_path"),
        ("a\0.png", "unsafe_path"),
        ("deep", "unsafe_path"),
        (".", "missing_image"),
        ("x::memory://secret.png", "missing_image"),
        ("gone.png", "missing_image"),
        ("*.png", "missing_image"),
    ],
)
def test_no_path_leads_out_of_a_directory_in_a_bucket(bucket, monkeypatch, path, reason):
    urls, resolve = set(), fsspec.url_to_fs
    monkeypatch.setattr(fsspec, "url_to_fs", lambda url: urls.add(url) or resolve(url))
    bucket.pipe_file("/secret.png", b"secret")
    bucket.pipe_file("/images/a.png", b"png")
    bucket.pipe_file("/images/deep/b.png", b"deep")
    put_jsonl(bucket, "/x.jsonl", [*rows(1, [path]), *rows(1, ["./deep/b.png", "a.png"])])
    source = JsonlSource("memory://x.jsonl", columns=COLUMNS, image_root="memory://images/")
    bucket.fetched.clear()
    with pytest.raises(BadRow) as caught:
        source[0]
    assert caught.value.reason == reason
    assert [path for path, _ in bucket.fetched] == ["/x.jsonl"]
    assert source[1].images == (b"deep", b"png")
    # What a row says is never read as a URL: "x::memory://y" would be two of them.
    assert urls == {"memory://x.jsonl", "memory:///x.jsonl", "memory://images"}


def test_of_an_image_no_more_is_fetched_than_can_be_decoded(bucket, monkeypatch):
    monkeypatch.setattr("perl_jax.data.sources.image_files.MAX_BYTES", 2000)
    bucket.pipe_file("/images/large.png", bytes(3000))
    bucket.pipe_file("/images/empty.png", b"")
    put_jsonl(bucket, "/x.jsonl", rows(1, ["large.png", "empty.png"]))
    source = JsonlSource("memory://x.jsonl", columns=COLUMNS, image_root="memory://images")
    assert [len(image) for image in source[0].images] == [2001, 0]


def test_a_directory_of_images_that_is_missing_is_an_error(bucket):
    put_jsonl(bucket, "/x.jsonl", rows())
    with pytest.raises(FileNotFoundError, match="image_root: memory://gone is not a directory"):
        JsonlSource("memory://x.jsonl", columns=COLUMNS, image_root="memory://gone")


def test_a_truncated_parquet_file_is_an_error_that_names_it(bucket):
    put_parquet(bucket, "/x.parquet", pa.Table.from_pylist(rows()))
    bucket.pipe_file("/x.parquet", bucket.cat_file("/x.parquet")[:-20])
    with pytest.raises(ValueError, match=r"memory:///x\.parquet: expected a whole parquet file"):
        ParquetSource("memory://x.parquet", columns=COLUMNS)


def test_a_client_that_is_not_installed_is_named(monkeypatch):
    def missing(url):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(
        ImportError, match=r"gs://b/x\.jsonl: gs:// needs gcsfs: pip install 'perl_jax\[gcs\]'"
    ):
        JsonlSource("gs://b/x.jsonl", columns=COLUMNS)
    with pytest.raises(ImportError, match=r"s3:// needs s3fs: pip install 'perl_jax\[s3\]'"):
        ParquetSource("s3://b/x.parquet", columns=COLUMNS)


def test_a_kind_of_url_that_is_unknown_is_an_error():
    with pytest.raises(ValueError, match=r"gz://b/x\.jsonl: expected a path, gs://, s3://"):
        JsonlSource("gz://b/x.jsonl", columns=COLUMNS)
