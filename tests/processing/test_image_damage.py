"""Damaged, hostile and foreign files: each is one clear error, never a wrong picture."""

import io
import os
import random
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from perl_jax.processing import ImageError, load_rgb
from perl_jax.processing.decode import MAX_PIXELS
from tests.processing.image_files import GREYS, chunk, encode, grey, noise, png


@pytest.mark.reliability("25", "26", "27", "32")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"<!doctype html><html>404 not found</html>", "not a JPEG, PNG, WEBP or BMP image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a JPEG, PNG, WEBP or BMP image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG, PNG, WEBP or BMP"),
        (encode(noise(), "TIFF"), "not a JPEG, PNG, WEBP or BMP image"),
        (encode(noise(), "GIF"), "not a JPEG, PNG, WEBP or BMP image"),
        (encode(noise(), "PPM"), "not a JPEG, PNG, WEBP or BMP image"),
        (encode(noise(), "JPEG")[:900], "cannot be decoded: .*truncated"),
        (encode(noise(), "PNG")[:900], "PNG that is cut off within its chunk IDAT"),
        (encode(noise(), "WEBP")[:600], "cannot be decoded|not a JPEG"),
        (encode(noise(), "BMP")[:900], "cannot be decoded: .*truncated"),
        (b"\x89PNG\r\n\x1a\n", "PNG that is cut off: its last chunk, IEND, is missing"),
        (b"\xff\xd8\xff", "not a JPEG|cannot be decoded"),
        (b"BM", "not a JPEG|cannot be decoded"),
        (b"RIFF\0\0\0\0WEBP", "not a JPEG|cannot be decoded"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it_and_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"photo.png': {message}"):
        load_rgb(path)


@pytest.mark.reliability("27")
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_cut_anywhere_is_an_error_or_lost_nothing(kind):
    options = {"progressive": True} if kind.startswith("progressive") else {}
    data = encode(noise(24, 24), kind.split()[-1], **options)
    whole = load_rgb(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 150)):
        try:
            rgb = load_rgb(data[:length])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(rgb, whole)
    assert refused > 100


@pytest.mark.reliability("28")
@pytest.mark.parametrize("offset", [-14, -20, 200, 37, 20])
def test_a_flipped_bit_in_a_png_is_found_by_its_checksum(offset):
    data = bytearray(encode(noise(), "PNG"))
    data[offset] ^= 1
    with pytest.raises(ImageError, match=r"PNG with a damaged chunk ....: its checksum is wrong"):
        load_rgb(bytes(data))


TEXT, PROFILE = b"Comment\0a scan", b"sRGB\0\0" + zlib.compress(b"profile")


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("kind", "body"), [(b"tEXt", TEXT), (b"zTXt", TEXT), (b"iTXt", TEXT), (b"iCCP", PROFILE)]
)
def test_metadata_of_a_png_with_a_wrong_checksum_costs_no_pixel(kind, body, behind):
    data = encode(noise(), "PNG")
    damaged = bytearray(chunk(kind, body))
    damaged[-1] ^= 1
    place = len(data) - 12 if behind else 33  # before IEND, or behind IHDR
    broken = data[:place] + bytes(damaged) + data[place:]
    np.testing.assert_array_equal(load_rgb(broken), load_rgb(data))


@pytest.mark.parametrize("kind", [b"tRNS", b"IDAT", b"iDAT", b"teXt"])
def test_a_damaged_chunk_that_may_change_pixels_is_named(kind):
    damaged = bytearray(chunk(kind, b"\0" * 6))
    damaged[-1] ^= 1
    data = png(1, 1, 8, 0, b"\0\0", bytes(damaged))
    with pytest.raises(ImageError, match=f"PNG with a damaged chunk {kind.decode()}"):
        load_rgb(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.integers(0, 2**32 - 1))
def test_damaged_bytes_raise_nothing_but_image_errors(kind, seed):
    rng = random.Random(seed)
    data = bytearray(encode(noise(12, 12), kind))
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        rgb = load_rgb(bytes(data))
    except ImageError:
        return
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3


@pytest.mark.reliability("29", "30")
@pytest.mark.parametrize(("width", "height"), [(13000, 13000), (20000, 20000), (2**16, 1025)])
def test_a_bomb_is_refused_by_its_header_before_it_is_decoded(width, height, monkeypatch):
    data = png(width, height, 8, 0, bytes(1000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match=rf"{width}x{height} pixels are|decompression bomb"):
        load_rgb(data)
    assert width * height > MAX_PIXELS


def test_large_objects_are_refused_as_well():
    wide = np.broadcast_to(np.zeros(1, np.uint8), (2**13, 2**13 + 1))
    with pytest.raises(ImageError, match="megapixels"):
        load_rgb(wide)


@pytest.mark.reliability("31")
@pytest.mark.parametrize(
    ("kind", "before"),
    [(b"zTXt", True), (b"zTXt", False), (b"iTXt", True), (b"iTXt", False), (b"iCCP", True)],
)
def test_a_bomb_of_compressed_text_is_an_error(kind, before):
    packed = zlib.compress(bytes(50_000_000))
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + packed
    bomb = chunk(kind, body)
    data = png(1, 1, 8, 0, b"\0\0", bomb if before else b"")
    if not before:
        data = data[:-12] + bomb + data[-12:]
    with pytest.raises(ImageError, match="cannot be decoded"):
        load_rgb(data)


@pytest.mark.reliability("43")
@pytest.mark.parametrize(
    "url",
    ["http://localhost/a.png", "https://x/a.png", "file:///etc/passwd", "data:image/png;base64,"],
)
def test_urls_are_refused(url):
    with pytest.raises(ImageError, match="URLs are not fetched"):
        load_rgb(url)


@pytest.mark.reliability("44")
def test_only_regular_files_are_opened(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(ImageError, match="not a regular file"):
            load_rgb(path)


@pytest.mark.parametrize("path", ["missing.png", "a\0b", "x" * 5000])
def test_a_path_to_nothing_is_an_error(path):
    with pytest.raises(ImageError, match=r"no such file|cannot be read") as error:
        load_rgb(path)
    assert len(str(error.value)) < 300


def test_an_object_of_another_format_must_be_decoded_by_whoever_trusts_it():
    image = Image.open(io.BytesIO(encode(Image.fromarray(GREYS), "TIFF")))
    with pytest.raises(ImageError, match="format TIFF that is not decoded yet"):
        load_rgb(image)
    image.load()
    np.testing.assert_array_equal(load_rgb(image), grey(GREYS))


def test_a_truncated_object_is_an_error():
    image = Image.open(io.BytesIO(encode(noise(), "JPEG")[:900]))
    with pytest.raises(ImageError, match="truncated"):
        load_rgb(image)


def test_pillows_switch_for_grey_filling_is_refused(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES is on"):
        load_rgb(encode(noise(), "JPEG")[:900])


def test_no_warning_of_pillow_leaks():
    transparent = Image.new("P", (2, 1))
    transparent.putpalette([10, 20, 30, 40, 50, 60])
    images = [
        encode(transparent, transparency=bytes([255, 0])),
        encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09"),
        png(10000, 10000, 8, 0, bytes(1000)),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for image in images:
            try:
                load_rgb(image)
            except ImageError:
                assert image is images[-1]
    assert caught == []


def test_threads_that_decode_at_once_leave_the_warning_filters_as_they_were(monkeypatch):
    opened = Image.open

    def slowly(*args, **options):
        time.sleep(0.002)
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", slowly)
    data = encode(noise(), "PNG")
    before = list(warnings.filters)
    threads = [threading.Thread(target=load_rgb, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
