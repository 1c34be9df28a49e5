"""Small copies of images that a page can hold."""

import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from perl_jax.processing import load_rgb

_MAX_PNG_BYTES = 2**15  # larger pictures, such as photographs, become JPEG
_LEAST_SIDE = 84  # smaller pictures, such as scans of digits, are enlarged by a whole factor


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a PNG or JPEG data URI; width and height are in pixels of the page."""

    uri: str
    width: int
    height: int
    original: str
    enlarged: bool


def thumbnail(image: Any, max_side: int) -> Thumbnail:
    """A copy of an image with no side above ``max_side`` pixels; raises `ImageError`.

    It is encoded from the decoded pixels, so no byte of the original file gets into the page.
    """
    picture = Image.fromarray(load_rgb(image))
    original = f"{picture.width} by {picture.height}"
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    kind, data = "png", _encoded(picture, "PNG")
    if len(data) > _MAX_PNG_BYTES:
        kind, data = "jpeg", _encoded(picture, "JPEG", quality=85)
    factor = max(1, _LEAST_SIDE // max(picture.size))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Thumbnail(uri, picture.width * factor, picture.height * factor, original, factor > 1)


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
