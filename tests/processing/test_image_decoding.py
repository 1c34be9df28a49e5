"""One rule for every image, however it comes: modes, alpha, orientation, depth."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from perl_jax.processing import ImageError, load_rgb
from tests.processing.image_files import GREYS, chunk, encode, grey, png


@pytest.mark.parametrize(
    "mode", ["L", "LA", "PA", "P", "RGB", "RGBA", "RGBX", "RGBa", "La", "I", "F", "CMYK"]
)
def test_a_mode_that_can_hold_greys_keeps_them(mode):
    image = Image.fromarray(GREYS)
    through = {"La": "LA", "RGBa": "RGBA"}.get(mode, "L")
    if mode == "CMYK":
        image = image.convert("RGB")
    np.testing.assert_array_equal(load_rgb(image.convert(through).convert(mode)), grey(GREYS))


def test_a_bilevel_image_is_black_and_white():
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(load_rgb(image), grey([[0, 255]]))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_colour_spaces_come_back_as_the_same_colours(mode, picture):
    rgb = picture(40, 40)
    again = load_rgb(Image.fromarray(rgb).convert(mode))
    assert np.abs(again.astype(int) - rgb).mean() < 3


def test_lab_is_converted_by_its_colour_profile():
    rgb = Image.new("RGB", (2, 2), (200, 30, 60))
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    again = load_rgb(ImageCms.applyTransform(rgb, to_lab))
    assert np.abs(again[0, 0].astype(int) - (200, 30, 60)).max() <= 3


@pytest.mark.reliability("37")
def test_cmyk_files_are_read_in_their_colours():
    image = Image.new("RGB", (16, 16), (250, 20, 30)).convert("CMYK")
    rgb = load_rgb(encode(image, "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - (250, 20, 30)).max() <= 6


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bits_are_scaled_to_their_high_byte(mode):
    image = Image.new(mode, (3, 1))
    for x, value in enumerate([0, 40000, 65535]):
        image.putpixel((x, 0), value)
    np.testing.assert_array_equal(load_rgb(image), grey([[0, 156, 255]]))


@pytest.mark.reliability("38")
def test_16_bit_files_are_scaled_in_grey_and_in_colour_alike():
    values = struct.pack(">3H", 0, 40000, 65535)
    one_row = load_rgb(png(3, 1, 16, 0, b"\0" + values))
    np.testing.assert_array_equal(one_row, grey([[0, 156, 255]]))
    one_pixel = load_rgb(png(1, 1, 16, 2, b"\0" + values))
    np.testing.assert_array_equal(one_pixel, [[[0, 156, 255]]])


@pytest.mark.parametrize(
    ("mode", "dtype", "values", "expected"),
    [
        ("I", np.int32, [[0, 100, 255]], [[0, 100, 255]]),
        ("I", np.int32, [[0, 256, 65535]], [[0, 1, 255]]),
        ("F", np.float32, [[0, 0.5, 1]], [[0, 128, 255]]),
        ("F", np.float32, [[0, 99.6, 255]], [[0, 100, 255]]),
    ],
)
def test_modes_without_a_range_are_read_in_the_smallest_usual_one(mode, dtype, values, expected):
    image = Image.fromarray(np.array(values, dtype))
    assert image.mode == mode
    np.testing.assert_array_equal(load_rgb(image), grey(expected))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (np.int32, [[-1, 5]]),
        (np.int32, [[0, 65536]]),
        (np.float32, [[-0.5, 1]]),
        (np.float32, [[0, 256]]),
        (np.float32, [[np.nan, 1]]),
        (np.float32, [[np.inf, 1]]),
    ],
)
def test_values_outside_any_usual_range_are_errors(dtype, values):
    with pytest.raises(ImageError, match="holds values from"):
        load_rgb(Image.fromarray(np.array(values, dtype)))


def test_an_unknown_mode_is_an_error_that_names_it():
    image = Image.new("RGB", (2, 2))
    image._mode = "BGR;15"
    with pytest.raises(ImageError, match="mode 'BGR;15' is unknown"):
        load_rgb(image)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_composited_on_white(mode):
    image = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [0, 0, 0, 255]]], np.uint8))
    np.testing.assert_array_equal(load_rgb(image.convert(mode)), grey([[255, 127, 0]]))


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_is_composited_on_white(mode):
    straight = Image.new("LA", (1, 1), (0, 128))
    image = straight.convert("La") if mode == "La" else straight.convert("RGBA").convert("RGBa")
    np.testing.assert_array_equal(load_rgb(image), grey([[127]]))


@pytest.mark.reliability("35")
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_of_files_is_composited_on_white(kind):
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (load_rgb(encode(image, kind, **options)) == 255).all()


@pytest.mark.reliability("36")
@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_colours_of_a_palette_are_white(transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    rgb = load_rgb(encode(image, transparency=transparency))
    np.testing.assert_array_equal(rgb, [[[10, 20, 30], [255, 255, 255]]])


@pytest.mark.reliability("36")
def test_a_palette_with_alpha_is_composited_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 255, 40, 50, 60, 0], "RGBA")
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(load_rgb(image), [[[10, 20, 30], [255, 255, 255]]])


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_colour_that_is_declared_transparent_is_white(mode, key):
    image = Image.fromarray(np.array([[7, 9]] if mode != "1" else [[0, 255]], np.uint8))
    data = encode(image.convert(mode), transparency=key)
    np.testing.assert_array_equal(load_rgb(data), grey([[255, 9 if mode != "1" else 255]]))


def test_a_transparent_colour_of_16_bits_is_white():
    pixels = b"\0" + struct.pack(">2H", 1000, 40000)
    data = png(2, 1, 16, 0, pixels, chunk(b"tRNS", struct.pack(">H", 1000)))
    np.testing.assert_array_equal(load_rgb(data), grey([[255, 156]]))
    key = struct.pack(">3H", 1000, 2000, 3000)
    data = png(2, 1, 16, 2, b"\0" + key + struct.pack(">3H", 0, 0, 0), chunk(b"tRNS", key))
    np.testing.assert_array_equal(load_rgb(data), grey([[255, 0]]))


UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
# How the tag's definition says each orientation is stored: first row and first column shown.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_whatever_their_orientation_tag(kind, orientation):
    image = Image.fromarray(np.ascontiguousarray(grey(STORED[orientation])))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(image, kind, exif=exif(orientation), **options)
    np.testing.assert_array_equal(load_rgb(data), grey(UPRIGHT))
    np.testing.assert_array_equal(load_rgb(Image.open(io.BytesIO(data))), grey(UPRIGHT))


@pytest.mark.reliability("39")
def test_photographs_stand_upright():
    image = Image.new("RGB", (32, 16), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 16, 16))
    rgb = load_rgb(encode(image, "JPEG", exif=exif(6), quality=95))
    assert rgb.shape == (32, 16, 3)
    assert rgb[:16].mean() < 10
    assert rgb[16:].mean() > 245


def test_orientation_and_alpha_of_16_bit_images_are_both_applied():
    pixels = b"\0" + struct.pack(">2H", 1000, 40000)
    tags = chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))
    data = png(2, 1, 16, 0, pixels, chunk(b"tRNS", struct.pack(">H", 1000)) + tags)
    np.testing.assert_array_equal(load_rgb(data), grey([[255], [156]]))


@pytest.mark.parametrize("tag", [exif(0), exif(9), b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\xff"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_meaningless_orientation_tag_changes_nothing(kind, tag):
    data = encode(Image.fromarray(grey(UPRIGHT)), kind, exif=tag)
    assert load_rgb(data).shape == (2, 3, 3)


def test_arrays_are_grey_colour_or_colour_with_alpha():
    np.testing.assert_array_equal(load_rgb(GREYS), grey(GREYS))
    np.testing.assert_array_equal(load_rgb(GREYS[..., None]), grey(GREYS))
    np.testing.assert_array_equal(load_rgb(grey(GREYS)), grey(GREYS))
    transparent = np.concatenate([grey(GREYS), np.zeros((2, 3, 1), np.uint8)], axis=-1)
    assert (load_rgb(transparent) == 255).all()
    np.testing.assert_array_equal(load_rgb(grey(GREYS)[:, ::-1]), grey(GREYS[:, ::-1]))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_errors_that_name_shape_and_dtype(array):
    with pytest.raises(ImageError, match=r"array of shape \(.*dtype.*expected uint8"):
        load_rgb(array)


@pytest.mark.parametrize("array", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0), np.uint8)])
def test_empty_arrays_are_errors(array):
    with pytest.raises(ImageError, match="the image is empty"):
        load_rgb(array)


def test_a_file_object_can_be_read_twice():
    file = io.BytesIO(encode(Image.fromarray(GREYS)))
    np.testing.assert_array_equal(load_rgb(file), load_rgb(file))


def test_bytes_of_a_row_go_before_its_path():
    data = encode(Image.fromarray(GREYS))
    np.testing.assert_array_equal(load_rgb({"bytes": data, "path": "nowhere.png"}), grey(GREYS))
    with pytest.raises(ImageError, match=r"'nowhere.png': no such file"):
        load_rgb({"bytes": None, "path": "nowhere.png"})
    with pytest.raises(ImageError, match=r"'nowhere.png': 0 bytes"):
        load_rgb({"bytes": b"", "path": "nowhere.png"})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"bytes": None, "path": None}, "both bytes and path are missing"),
        ({}, "both bytes and path are missing"),
        ({"bytes": "text"}, "field bytes: expected bytes, got str"),
        ({"path": 3}, "field path: expected a path, got int"),
        (None, "NoneType is not an image"),
        (3, "int is not an image"),
        (io.StringIO("text"), "gives str: open it in binary mode"),
    ],
)
def test_what_is_no_image_is_an_error(image, message):
    with pytest.raises(ImageError, match=message):
        load_rgb(image)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_usual_formats_are_read(kind, picture):
    rgb = load_rgb(encode(Image.fromarray(picture(20, 30)), kind))
    assert rgb.shape == (20, 30, 3)
    assert rgb.dtype == np.uint8


def test_the_first_picture_of_several_is_read():
    first, second = Image.new("RGB", (16, 16), "white"), Image.new("RGB", (16, 16), "black")
    for kind, options in (("MPO", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encode(first, kind, save_all=True, append_images=[second], **options)
        assert load_rgb(data).min() > 250


def test_the_image_that_is_given_stays_as_it_was():
    image = Image.open(io.BytesIO(encode(Image.fromarray(UPRIGHT), exif=exif(6))))
    load_rgb(image)
    assert (image.mode, image.size) == ("L", (3, 2))
    assert image.getexif()[0x0112] == 6
