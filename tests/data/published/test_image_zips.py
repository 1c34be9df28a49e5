"""Images in zip files: found by name wherever they may lie, and nothing else is ever read."""

import stat
import zipfile

import pytest

from perl_jax.data import BadRow
from perl_jax.data.published import archives
from perl_jax.data.published.archives import ImageZips


def pack(path, members, **changes):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            for field, value in changes.items():
                setattr(info, field, value)
            file.writestr(info, data)
    return path


def reason(zips, name):
    with pytest.raises(BadRow) as caught:
        zips.read(name, "train:7")
    assert caught.value.row == "train:7"
    return caught.value.reason


def test_a_member_is_found_in_whichever_file_holds_it(tmp_path):
    first = pack(tmp_path / "part0.zip", {"a.png": b"A", "x/b.png": b"B"})
    second = pack(tmp_path / "part1.zip", {"c.png": b"C"})
    zips = ImageZips([first, second])
    assert zips.read("a.png", "") == b"A"
    assert zips.read("./x/b.png", "") == b"B"
    assert zips.read("c.png", "") == b"C"
    assert zips.read("b.png", "") is None
    zips.close()


def test_a_folder_that_holds_everything_may_be_left_out_of_a_path(tmp_path):
    members = {"data/images/x/a.png": b"A", "data/images/y/a.png": b"B", "__MACOSX/a.png": b"junk"}
    zips = ImageZips([pack(tmp_path / "one.zip", members)])
    for name in ("x/a.png", "images/x/a.png", "data/images/x/a.png"):
        assert zips.read(name, "") == b"A"
    assert zips.read("y/a.png", "") == b"B"
    assert zips.read("a.png", "") is None  # either could be meant
    zips.close()


def test_two_different_members_of_one_name_are_ambiguous_and_two_equal_ones_are_not(tmp_path):
    paths = [pack(tmp_path / f"{n}.zip", {"a": b"%d" % n, "b": b"same"}) for n in range(2)]
    zips = ImageZips(paths)
    assert reason(zips, "a") == "ambiguous_image"
    assert zips.read("b", "") == b"same"
    zips.close()


@pytest.mark.parametrize(
    "name", ["../a", "/a", "x/../../a", "http://x/a", "file:///a", "data:a", "a\0"]
)
def test_names_that_are_no_paths_within_are_refused_even_where_a_member_has_them(tmp_path, name):
    zips = ImageZips([pack(tmp_path / "one.zip", {"../a": b"A", "/a": b"A", "a": b"A"})])
    assert reason(zips, name) == "unsafe_path"
    zips.close()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, kind):
    path = pack(tmp_path / "one.zip", {"a": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    zips = ImageZips([path])
    assert reason(zips, "a") == "unsafe_path"
    zips.close()


def test_a_folder_is_no_image(tmp_path):
    zips = ImageZips([pack(tmp_path / "one.zip", {"a/": b""})])
    assert zips.read("a", "") is None
    assert zips.read("a/", "") is None
    zips.close()


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", b"\0" * 10**6)
        file.writestr("fits", b"\0" * 1000)
    zips = ImageZips([path])
    assert reason(zips, "bomb") == "too_large"
    assert zips.read("fits", "") == b"\0" * 1000
    zips.close()


def test_a_damaged_member_is_a_bad_row_and_the_others_are_read(tmp_path):
    path = pack(tmp_path / "one.zip", {"a": b"AAAA", "b": b"BBBB"})
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAXA"))
    zips = ImageZips([path])
    assert reason(zips, "a") == "damaged_zip_member"
    assert zips.read("b", "") == b"BBBB"
    zips.close()


def test_a_file_that_is_cut_off_is_named(tmp_path):
    whole = pack(tmp_path / "whole.zip", {"a": b"A"})
    path = pack(tmp_path / "cut.zip", {"a": b"A" * 1000})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"cut\.zip: expected a whole zip file"):
        ImageZips([whole, path])
    with pytest.raises(FileNotFoundError):
        ImageZips([tmp_path / "none.zip"])
