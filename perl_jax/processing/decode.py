"""Any image, however it comes, as upright RGB: one rule for files, bytes, arrays and objects."""

import io
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from perl_jax.processing.errors import ImageError

# Decoders for untrusted bytes. Pillow has forty more: some start other programs (EPS), some decode
# frames without a bound (TIFF, GIF), and no data set of this field needs them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# Five times what the model reads of an image at most (12.8 megapixels): larger photographs are
# real, but beyond this a file of a few kilobytes costs more memory to decode than a training step.
MAX_PIXELS = 2**26

# An uncompressed image of MAX_PIXELS with alpha; nothing longer is worth reading.
MAX_BYTES = 4 * MAX_PIXELS

_WIDE_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_OTHER_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}

# The EXIF orientation tag says how the stored pixels must be turned to stand upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")

# Python's warning filters belong to the process: without a lock, two threads that silence and
# restore them at once can leave every warning silenced.
_FILTERS_LOCK = threading.Lock()


def load_rgb(image: Any) -> np.ndarray:
    """Decodes an image and brings it to upright 8-bit RGB.

    The EXIF orientation is applied where it can be read; alpha, in whichever form, is composited
    on white; every Pillow mode is converted. Values of more than 8 bits are scaled: I;16 keeps its
    high byte, as Pillow does for 16-bit colour; I and F, which do not say their range, are read in
    the smallest usual one that holds all their values: I in 0..255 or 0..65535, F in 0..1 or
    0..255.

    Args:
        image: One of: a path (of a regular file); encoded bytes; a binary file object, which is
            read from its start where it can seek; a Pillow image; a uint8 array ``[H, W]``,
            ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]``; a mapping with ``bytes`` and/or
            ``path``, as image columns of parquet files hold, where bytes go first. Files and
            bytes must be JPEG, PNG, WebP or BMP; of an animation, the first frame is read.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        ImageError: The image cannot be read, is damaged or too large, or is of an unknown kind.
    """
    if isinstance(image, Mapping):
        return _from_row(image)
    if isinstance(image, str | Path):
        return _from_path(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(bytes(image))
    if isinstance(image, Image.Image):
        return _from_object(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if hasattr(image, "read"):
        return _from_bytes(_read(image))
    raise ImageError(
        f"{type(image).__name__} is not an image: expected a path, bytes, a file object, a Pillow "
        "image, a uint8 array or a mapping with bytes or path"
    )


def _from_row(row: Mapping[str, Any]) -> np.ndarray:
    data, path = row.get("bytes"), row.get("path")
    if data is None:
        if path is None:
            raise ImageError(f"mapping with keys {sorted(row)}: both bytes and path are missing")
        return _from_path(path)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(f"field bytes: expected bytes, got {type(data).__name__}")
    with _named(path):
        return _from_bytes(bytes(data))


def _from_path(path: str | Path) -> np.ndarray:
    if not isinstance(path, str | Path):
        raise ImageError(f"field path: expected a path, got {type(path).__name__}")
    with _named(path):
        if _URL.match(str(path)):
            raise ImageError("URLs are not fetched; download the image and pass its path")
        try:
            data = _read_regular(path)
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error
        return _from_bytes(data)


def _read_regular(path: str | Path) -> bytes:
    # Anything but a regular file may block for ever (a pipe) or never end (a device).
    if not Path(path).is_file():
        raise ImageError("not a regular file" if Path(path).exists() else "no such file")
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _read(file: Any) -> bytes:
    """The content of a file object, from its start where it can seek: the second reader sees it."""
    with _decoding():
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        data = file.read(MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise ImageError(f"file object gives {type(data).__name__}: open it in binary mode")
    return data


def _from_bytes(data: bytes) -> np.ndarray:
    if not data:
        raise ImageError("0 bytes")
    if len(data) > MAX_BYTES:
        raise ImageError(f"more than {MAX_BYTES >> 20} MiB of encoded bytes")
    with _decoding():
        with _silenced():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.format == "PNG":
            # Loading skips checksums of pixel data; verifying checks them, and uses up the object.
            with _silenced():
                Image.open(io.BytesIO(data), formats=FORMATS).verify()
        with image:
            return _upright_rgb(image)


def _from_object(image: Image.Image) -> np.ndarray:
    pending = isinstance(image, ImageFile.ImageFile) and bool(image.tile)
    if pending and image.format not in (*FORMATS, "MPO"):
        raise ImageError(
            f"Pillow image of format {image.format} that is not decoded yet: only "
            f"{', '.join(FORMATS)} are; call its load() first if you trust it"
        )
    with _decoding():
        return _upright_rgb(image)


def _from_array(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(
            f"array of shape {array.shape} and dtype {array.dtype}: expected uint8 of shape "
            "[H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        )
    _check_size(array.shape[1], array.shape[0])
    if array.ndim == 3 and channels == 1:
        array = array[:, :, 0]
    with _decoding():
        return _upright_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{width}x{height} pixels: the image is empty")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width}x{height} pixels are {width * height / 1e6:.0f} megapixels; at most "
            f"{MAX_PIXELS / 1e6:.0f} are decoded"
        )


def _upright_rgb(image: Image.Image) -> np.ndarray:
    if image.mode not in _WIDE_MODES | _ALPHA_MODES | _OTHER_MODES:
        raise ImageError(f"Pillow mode {image.mode!r} is unknown; convert the image to RGB first")
    _check_size(*image.size)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, which fills the missing part of a damaged "
            "image with grey; set it to False"
        )
    image.load()
    if image.mode in _WIDE_MODES:
        rgb = Image.fromarray(_eight_bits(image)).convert("RGB")
    elif _has_alpha(image):
        rgb = _on_white(image)
    else:
        rgb = image.convert("RGB")
    turn = _UPRIGHT.get(_orientation(image))
    return np.array(rgb if turn is None else rgb.transpose(turn))


def _orientation(image: Image.Image) -> Any:
    with _silenced():
        try:
            return image.getexif().get(ExifTags.Base.Orientation)
        # Damaged metadata says nothing about whole pixels; Pillow skips it in JPEG, and in other
        # formats raises what its parser of TIFF tags happens to.
        except Exception:
            return None


def _has_alpha(image: Image.Image) -> bool:
    if image.mode in _ALPHA_MODES:
        return True
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    # One colour of these modes may be declared transparent.
    return image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # The key of 16-bit colour, whose pixels were reduced to their high bytes.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """The grey image of a mode with more than 8 bits; uint8 ``[H, W]``."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    top = 255 if image.mode == "F" else 65535
    if not (low >= 0 and high <= top):
        raise ImageError(f"mode {image.mode} holds values from {low} to {high}, not in 0..{top}")
    if image.mode == "F":
        grey = np.rint(values * np.float32(255 if high <= 1 else 1)).astype(np.uint8)
    elif image.mode == "I" and high <= 255:
        grey = values.astype(np.uint8)
    else:
        grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey = np.where(values == image.info["transparency"], np.uint8(255), grey)
    return grey


@contextmanager
def _named(name: Any) -> Iterator[None]:
    """Prefixes errors with the image's path."""
    try:
        yield
    except ImageError as error:
        if name is None:
            raise
        text = str(name) if len(str(name)) <= 200 else f"{str(name)[:200]}..."
        raise ImageError(f"{text!r}: {error}") from error


@contextmanager
def _decoding() -> Iterator[None]:
    """Turns what decoders raise into an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    # Damaged bytes make Pillow raise nearly every built-in exception, SyntaxError among them.
    except Exception as error:
        raise ImageError(f"cannot be decoded: {type(error).__name__}: {error}") from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Keeps Pillow's warnings about metadata and size in; what matters of them is an error here."""
    with _FILTERS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
