"""Small copies of images that a page can hold."""

import base64
from dataclasses import dataclass
from typing import Any

from PIL import Image

from perl_jax.processing import encode_image, load_rgb

_MAX_PNG_BYTES = 2**15
_LEAST_SIDE = 84  # smaller pictures, such as scans of digits, are enlarged by a whole factor


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a PNG or JPEG data URI; width and height are in pixels of the page."""

    uri: str
    width: int
    height: int
    original: str
    enlarged: bool


def thumbnail(image: Any, max_side: int, max_png_bytes: int = _MAX_PNG_BYTES) -> Thumbnail:
    """A copy of an image with no side above ``max_side`` pixels; raises `ImageError`.

    One that takes more than ``max_png_bytes`` as PNG, such as a photograph, becomes JPEG. It is
    encoded from the decoded pixels, so no byte of the original file gets into the page.
    """
    picture = Image.fromarray(load_rgb(image))
    original = f"{picture.width} by {picture.height}"
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    kind, data = "png", encode_image(picture)
    if len(data) > max_png_bytes:
        kind, data = "jpeg", encode_image(picture, "JPEG", quality=85)
    factor = max(1, _LEAST_SIDE // max(picture.size))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Thumbnail(uri, picture.width * factor, picture.height * factor, original, factor > 1)
