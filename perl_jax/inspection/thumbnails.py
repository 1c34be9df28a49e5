"""Small copies of images, to stand inside a page."""

import base64
from dataclasses import dataclass
from typing import Any

from PIL import Image

from perl_jax.processing import encode_image, load_rgb

# Up to here a picture is stored exactly; photographs become JPEG.
_MAX_PNG_BYTES = 2**15
# Smaller pictures, such as scans of digits, are shown enlarged by a whole factor.
_LEAST_SIDE = 84


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a page holds it.

    Attributes:
        uri: A data URI with a PNG or JPEG file.
        width: In pixels of the page, as is the height.
        original: The size of the original image, in words.
        enlarged: Whether the page shows each pixel as several.
    """

    uri: str
    width: int
    height: int
    original: str
    enlarged: bool


def thumbnail(image: Any, max_side: int) -> Thumbnail:
    """A copy of an image, no side longer than ``max_side`` pixels; small images keep their pixels.

    It is encoded anew from the decoded image: no byte of the original gets into the page.

    Raises:
        ImageError: The image cannot be decoded.
    """
    picture = Image.fromarray(load_rgb(image))
    original = f"{picture.width} by {picture.height}"
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    kind, data = "png", encode_image(picture)
    if len(data) > _MAX_PNG_BYTES:
        kind, data = "jpeg", encode_image(picture, "JPEG", quality=85)
    factor = max(1, _LEAST_SIDE // max(picture.size))
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Thumbnail(uri, picture.width * factor, picture.height * factor, original, factor > 1)
