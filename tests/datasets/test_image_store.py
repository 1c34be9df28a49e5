"""Images in folders and zip files: found wherever they may lie, and nothing else is ever read."""

import contextlib
import os
import stat
import tracemalloc
import zipfile

import pytest

from perl_jax.data import BadRow
from perl_jax.datasets import image_store
from perl_jax.datasets.image_store import ImageStore
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import write_zip


@pytest.fixture
def opened(tmp_path):
    """Opens archives, for images of a folder that holds nothing else."""
    with contextlib.ExitStack() as stack:
        root = tmp_path / "root"
        root.mkdir()
        yield lambda *paths: stack.enter_context(contextlib.closing(ImageStore(root, paths)))


def refusal(store, image):
    with pytest.raises(BadRow) as caught:
        store.read(image, "train:7")
    assert caught.value.row == "train:7"
    return caught.value


@pytest.fixture
def store(tmp_path):
    """A store with images in a folder and in an archive."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(digit_png(1))
    (tmp_path / "secret.png").write_bytes(digit_png(9))
    (root / "images" / "out.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "images" / "pipe.png")
    members = {
        "images/a.png": 2, "export/images/b.png": 3, "c.png": 4, "x/twice.png": 5,
        "y/twice.png": 6, "../up.png": 7, "/top.png": 8,
    }  # fmt: skip
    link = write_zip(
        root / "links.zip", {"images/link.png": b"/etc/passwd"}, external_attr=0o120777 << 16
    )
    archives = [write_zip(root / "images.zip", members), link]
    with contextlib.closing(ImageStore(root, archives)) as store:
        yield store


@pytest.mark.parametrize(
    ("path", "number"),
    [("images/a.png", 1), ("images/b.png", 3), ("images/c.png", 4), ("./images/b.png", 3),
     ("x/twice.png", 5), ("b.png", 3)],
)  # fmt: skip
def test_images_come_from_the_folder_first_and_from_the_archives_then(store, path, number):
    assert store.read(path, "row") == digit_png(number)
    assert store.read({"bytes": None, "path": path}, "row") == digit_png(number)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("images/gone.png", "missing_image"), ("twice.png", "ambiguous_image"),
        ("ges/b.png", "missing_image"), (None, "missing_image"), ("", "missing_image"),
        ("up.png", "missing_image"), ("top.png", "missing_image"), (".", "unsafe_path"),
        ("images/link.png", "unsafe_path"), ("images/out.png", "unsafe_path"),
        ("images/pipe.png", "unsafe_path"), ("../up.png", "unsafe_path"),
        ("/etc/passwd", "unsafe_path"), ("/top.png", "unsafe_path"),
        ("http://localhost/a.png", "unsafe_path"), ("data:a", "bad_image"),
        ("file:///etc/passwd", "unsafe_path"), ("images/a\0.png", "unsafe_path"),
        ("export/x/../images/b.png", "unsafe_path"), (5, "bad_image"), ({"path": 5}, "bad_image"),
        ({"bytes": "gone", "path": 5}, "missing_image"),
    ],
)  # fmt: skip
def test_what_is_not_below_the_root_is_refused(store, image, reason):
    assert refusal(store, image).reason == reason


def test_a_member_is_found_in_whichever_file_holds_it(tmp_path, opened):
    first = write_zip(tmp_path / "part0.zip", {"a.png": b"A", "x/b.png": b"B", "x/a.png": b"C"})
    second = write_zip(tmp_path / "part1.zip", {"c.png": b"D", "y/c.png": b"E"})
    store = opened(first, second)
    # A file of just that path goes before those in other folders.
    for path, data in {"a.png": b"A", "./x/b.png": b"B", "x/a.png": b"C", "c.png": b"D"}.items():
        assert store.read(path, "") == data
    assert refusal(store, "d.png").reason == "missing_image"


def test_a_folder_that_holds_everything_may_be_left_out_of_a_path(tmp_path, opened):
    members = {
        "data/images/x/a.png": b"A", "data/images/y/a.png": b"B", "data/images/b.png": b"C",
        "data/images/y/b.png": b"D", "__MACOSX/a.png": b"junk", "__MACOSX/mac.png": b"junk",
    }  # fmt: skip
    store = opened(write_zip(tmp_path / "one.zip", members))
    for path in ("x/a.png", "images/x/a.png", "data/images/x/a.png"):
        assert store.read(path, "") == b"A"
    assert store.read("y/a.png", "") == b"B"
    assert store.read("b.png", "") == b"C"
    error = refusal(store, "a.png")
    assert error.reason == "ambiguous_image"
    assert "one.zip/data/images/x/a.png, one.zip/data/images/y/a.png" in error.message
    for path in ("mac.png", "__MACOSX/mac.png"):
        assert refusal(store, path).reason == "missing_image"


def test_two_different_members_of_one_name_are_ambiguous_and_two_equal_ones_are_not(
    tmp_path, opened
):
    paths = [write_zip(tmp_path / f"{n}.zip", {"a": b"%d" % n, "b": b"same"}) for n in range(2)]
    store = opened(*paths)
    assert refusal(store, "a").reason == "ambiguous_image"
    assert store.read("b", "") == b"same"


@pytest.mark.parametrize("name", ["../a", "/a", "x/../../a", "http://x/a", "file:///a", "a\0"])
def test_names_that_are_no_paths_within_are_refused_even_where_a_member_has_them(
    tmp_path, opened, name
):
    store = opened(write_zip(tmp_path / "one.zip", {"../a": b"B", "/a": b"C", "a": b"A"}))
    assert refusal(store, name).reason == "unsafe_path"
    assert store.read("a", "") == b"A"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, opened, kind):
    changed = {"external_attr": (kind | 0o777) << 16}
    store = opened(write_zip(tmp_path / "one.zip", {"a": b"/etc/passwd"}, **changed))
    assert refusal(store, "a").reason == "unsafe_path"


def test_a_folder_is_no_image(tmp_path, opened):
    store = opened(write_zip(tmp_path / "one.zip", {"a/": b""}))
    assert refusal(store, "a").reason == "missing_image"
    assert refusal(store, "a/").reason == "missing_image"


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(image_store, "MAX_BYTES", 1000)
    members = {"bomb": b"\0" * 10**6, "fits": b"\0" * 1000}
    store = opened(write_zip(tmp_path / "one.zip", members, zipfile.ZIP_DEFLATED))
    error = refusal(store, "bomb")
    assert (error.reason, "1000000 bytes; at most 1000" in error.message) == ("bad_image", True)
    assert store.read("fits", "") == b"\0" * 1000


def patch(path, offset, value):
    """Overwrites what the directory of an archive says of its one member."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)


def test_a_member_that_understates_its_size_is_not_unpacked_whole(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(image_store, "MAX_BYTES", 1000)
    path = write_zip(tmp_path / "one.zip", {"bomb": b"\0" * 10**7}, zipfile.ZIP_DEFLATED)
    patch(path, 24, (100).to_bytes(4, "little"))
    store = opened(path)
    tracemalloc.start()
    try:
        assert refusal(store, "bomb").reason == "bad_image"
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_without_a_bound_are_refused(tmp_path, opened, compression):
    store = opened(write_zip(tmp_path / "one.zip", {"a": b"A" * 100}, compression))
    assert refusal(store, "a").reason == "bad_image"


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, b"\1"), (10, b"\x63"), (16, b"\0\0\0\0"), (42, b"\xf0\xff\xff\x7f"), (46, b"b")],
    ids=["encrypted", "unknown compression", "checksum", "place in the file", "name"],
)
def test_members_that_do_not_fit_their_entry_are_bad_rows(tmp_path, opened, offset, value):
    path = write_zip(tmp_path / "one.zip", {"a": b"AAAA"})
    patch(path, offset, value)
    assert refusal(opened(path), "b" if value == b"b" else "a").reason == "bad_image"


def test_a_damaged_member_is_a_bad_row_and_the_others_are_read(tmp_path, opened):
    path = write_zip(tmp_path / "one.zip", {"a": b"AAAA", "b": b"BBBB"})
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAXA"))
    store = opened(path)
    assert refusal(store, "a").reason == "bad_image"
    assert store.read("b", "") == b"BBBB"


def test_a_file_that_is_cut_off_or_missing_is_named(tmp_path, opened):
    whole = write_zip(tmp_path / "whole.zip", {"a": b"A"})
    path = write_zip(tmp_path / "cut.zip", {"a": b"A" * 1000})
    data = path.read_bytes()
    for left in (80, len(data) - 30):
        path.write_bytes(data[:left])
        with pytest.raises(ValueError, match=r"cut\.zip: expected a whole zip file"):
            opened(whole, path)
    with pytest.raises(FileNotFoundError, match=r"none\.zip"):
        opened(tmp_path / "none.zip")
