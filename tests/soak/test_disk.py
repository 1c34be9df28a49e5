import errno

import pytest

from tests.soak.disk import SmallDisk, why_none


@pytest.fixture
def disk(tmp_path):
    if why := why_none(tmp_path / "probe"):
        pytest.skip(why)
    made = SmallDisk(tmp_path / "disk", megabytes=1)
    yield made
    made.close()


def test_a_full_disk_takes_no_byte_and_an_emptied_one_does(disk):
    (disk.place / "before").write_bytes(b"kept")
    disk.fill()
    with pytest.raises(OSError, match="No space left") as refused:
        (disk.place / "more").write_bytes(b"x" * 10_000)
    assert refused.value.errno == errno.ENOSPC
    disk.empty()
    (disk.place / "more").write_bytes(b"x" * 10_000)
    assert (disk.place / "before").read_bytes() == b"kept"


def test_a_disk_that_is_there_is_used_again(disk):
    (disk.place / "before").write_bytes(b"kept")
    assert (SmallDisk(disk.place, megabytes=1).place / "before").read_bytes() == b"kept"


def test_a_disk_that_cannot_be_had_says_why(tmp_path):
    (tmp_path / "file").touch()
    assert "File exists" in why_none(tmp_path / "file")
