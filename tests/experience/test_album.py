"""Copies of pictures: made once, named by content, on several hosts sent to the main one."""

import io

import numpy as np
import pytest
from flax.serialization import msgpack_restore, msgpack_serialize
from PIL import Image

from perl_jax.experience import album as albums
from perl_jax.experience.album import Album
from perl_jax.mesh import BatchSharding
from perl_jax.processing import ImageSettings, extract_patches
from perl_jax.types import ImagePatches

SETTINGS = ImageSettings(28 * 28, 560 * 560, 14, 2, 2, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def picture(level, size=(56, 84)):
    return extract_patches(np.full((*size, 3), level, np.uint8), SETTINGS)


def names(directory):
    return sorted(file.stem for file in directory.iterdir())


def test_a_picture_is_written_once_under_its_digest_in_small(tmp_path):
    large = picture(200, (560, 280))
    with Album(tmp_path / "images", SETTINGS) as album:
        album.add([large, picture(100), picture(100)])
        album.write()
        assert names(tmp_path / "images") == sorted([large.digest, picture(100).digest])
        with Image.open(tmp_path / "images" / f"{large.digest}.jpg") as copy:
            assert copy.size == (128, 256)
            assert abs(copy.getpixel((5, 5))[0] - 200) < 4


def test_a_resumed_run_does_not_make_what_is_there_again(tmp_path):
    there = tmp_path / f"{picture(100).digest}.jpg"
    there.write_bytes(b"as it was")
    (tmp_path / ".aa.partial").write_bytes(b"left by a killed run")
    with Album(tmp_path, SETTINGS) as album:
        album.add([picture(100), picture(50)])
        album.write()
    assert there.read_bytes() == b"as it was"
    assert len(names(tmp_path)) == 2


def test_pictures_without_content_or_name_are_left_out(tmp_path):
    unnamed = ImagePatches(picture(1).patches, (4, 6))
    elsewhere = ImagePatches(np.empty((0, 0), np.float32), (4, 6), digest="aa")
    with Album(tmp_path, SETTINGS) as album:
        album.add([unnamed, elsewhere])
        album.write()
    assert names(tmp_path) == []


def test_a_picture_that_cannot_be_copied_is_an_error(tmp_path):
    with Album(tmp_path, SETTINGS) as album:
        album.add([ImagePatches(np.ones((3, 7), np.float32), (4, 6), digest="aa")])
        with pytest.raises(ValueError, match="reshape"):
            album.write()


TWO = {"shards_of_feed": ((0,), (1,)), "feed_of_host": (0, 1)}


def test_the_main_host_writes_the_pictures_of_all(tmp_path, monkeypatch):
    with Album(tmp_path, SETTINGS, BatchSharding(**TWO)) as album:
        album.add([picture(100)])
        heard = msgpack_serialize({"bb": b"of host 1"})
        monkeypatch.setattr(albums.hosts, "gather_bytes", lambda data, what: [data, heard])
        album.write()
    assert names(tmp_path) == sorted(["bb", picture(100).digest])
    assert (tmp_path / "bb.jpg").read_bytes() == b"of host 1"


def test_another_host_sends_so_many_bytes_after_a_step_and_writes_nothing(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(albums.hosts, "gather_bytes", lambda data, what: told.append(data) or [])
    monkeypatch.setattr(albums.hosts, "is_main", lambda: False)
    monkeypatch.setattr(albums, "_SENT_BYTES", 3000)
    pictures = [picture(level) for level in (10, 20, 30, 40, 50)]
    with Album(tmp_path / "images", SETTINGS, BatchSharding(**TWO, host=1)) as album:
        album.add(pictures)
        for _ in range(6):
            album.write()
    sent = [msgpack_restore(data) for data in told]
    assert len([one for one in sent if one]) > 1
    assert sorted(name for one in sent for name in one) == sorted(one.digest for one in pictures)
    assert all(sum(map(len, one.values())) <= 1500 or len(one) == 1 for one in sent)
    with Image.open(io.BytesIO(sent[0][pictures[0].digest])) as copy:
        assert copy.size == (84, 56)
    assert not (tmp_path / "images").exists()
