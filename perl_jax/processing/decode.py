"""Decoding images (files, bytes, arrays, objects) to upright RGB by one rule."""

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

from perl_jax.legible import brief
from perl_jax.processing.errors import ImageError
from perl_jax.processing.png import SIGNATURE, without_damaged_metadata

# Decoders for untrusted bytes. Of Pillow's other forty, some start programs (EPS), some decode
# frames without a bound (TIFF, GIF), and no data set of this field needs them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# Five times the most that the model reads (12.8 megapixels). Larger photographs are real, but
# beyond this a file of a few kilobytes takes more memory to decode than a training step.
MAX_PIXELS = 2**26
MAX_BYTES = 4 * MAX_PIXELS  # an uncompressed image with alpha

_WIDE_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_OTHER_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}

# EXIF orientation -> the turn that makes the stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HALF_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
}  # fmt: skip

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")

# Warning filters belong to the process: without a lock, two threads that silence and restore them
# at once can leave every warning silenced.
_FILTERS_LOCK = threading.Lock()


def load_rgb(image: Any) -> np.ndarray:
    """Decodes an image to upright 8-bit RGB: uint8 ``[H, W, 3]``.

    Readable EXIF orientation is applied, alpha of any form is composited on white, and every Pillow
    mode is converted. Values of more than 8 bits are scaled: I;16 keeps its high byte, as Pillow
    does for 16-bit colour. I and F have no fixed range; the smallest usual one that holds all
    values counts: 0..255 or 0..65535 for I, 0..1 or 0..255 for F.

    Args:
        image: A path of a regular file; encoded bytes; a binary file object, read from its start if
            it can seek; a Pillow image; a uint8 array ``[H, W]`` or ``[H, W, 1, 3 or 4]``; or a
            mapping with ``bytes`` and/or ``path`` (bytes go first), as parquet columns hold. Files
            and bytes must be JPEG, PNG, WebP or BMP; of an animation, the first frame is read.

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


def image_size(image: Any) -> tuple[int, int]:
    """Height and width of an upright image; of files and bytes, only the header is read.

    Raises:
        ImageError: As `load_rgb`, but damaged pixels are not noticed.
    """
    if isinstance(image, Mapping):
        image = image["path"] if image.get("bytes") is None else image["bytes"]
    if not isinstance(image, str | Path | bytes | bytearray):
        return load_rgb(image).shape[:2]
    file = Path(image) if isinstance(image, str | Path) else io.BytesIO(image)
    with _decoding():
        with _silenced():
            opened = Image.open(file, formats=FORMATS)
        with opened:
            width, height = opened.size
            turn = _UPRIGHT.get(_orientation(opened))
    lies = turn is not None and turn not in _HALF_TURNS
    return (width, height) if lies else (height, width)


def encode_image(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """The bytes of an image as a file of this kind; PNG keeps every pixel."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


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
    """Reads a file object, from its start if it can seek, so that it can be read again."""
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
    if data.startswith(SIGNATURE):
        data = without_damaged_metadata(data)
    with _decoding():
        with _silenced():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.format == "PNG":
                # Loading skips the checksums of pixel data; verifying uses up its object.
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
        # Damaged metadata does not mean damaged pixels. Pillow skips it in JPEG; in other formats
        # its parser of TIFF tags may raise anything.
        except Exception:
            return None


def _has_alpha(image: Image.Image) -> bool:
    if image.mode in _ALPHA_MODES:
        return True
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    # These modes may declare one colour transparent.
    return image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # A key of 16-bit colour; the pixels keep only their high bytes.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Scales a grey image of more than 8 bits to uint8 ``[H, W]``."""
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
        raise ImageError(f"{brief(text)}: {error}") from error


@contextmanager
def _decoding() -> Iterator[None]:
    """Turns the errors of decoders into ImageError."""
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
    """Silences Pillow's warnings about metadata and size; those that matter are errors here."""
    with _FILTERS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
