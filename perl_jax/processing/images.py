"""From RGB pixels to the vision tower's patches, bit for bit as transformers' Pillow processor.

Its torchvision processor rounds the resize differently, by up to two grey levels.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perl_jax.legible import brief
from perl_jax.processing.errors import ImageError
from perl_jax.processing.files import integer, read_json, read_optional_json
from perl_jax.settings import finite_number
from perl_jax.types import ImagePatches

# The published preprocessing refuses thinner images; the model never saw any.
MAX_ASPECT_RATIO = 200


@dataclass(frozen=True)
class ImageSettings:
    """How images are resized, normalised and cut.

    Attributes:
        min_pixels: Smaller images are enlarged to about this area.
        max_pixels: Larger images are reduced to at most this area.
        patch_size: Side of a square patch, in pixels.
        temporal_patch_size: Frames in a patch; a still image is repeated this often.
        merge_size: Side, in patches, of the square that becomes one language-model token.
        mean: Mean per channel, after rescaling.
        std: Standard deviation per channel, after rescaling.
        rescale_factor: Factor for the 8-bit values.
    """

    min_pixels: int
    max_pixels: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rescale_factor: float = 1 / 255

    def __post_init__(self) -> None:
        for field in ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size"):
            integer(getattr(self, field), field)
        integer(self.merge_size, "merge_size")
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels is {self.min_pixels}, more than max_pixels, {self.max_pixels}"
            )

    @property
    def most_patches(self) -> int:
        """A bound on the patches of an image: rounding adds some, and a side keeps one token."""
        area = 2 * self.max_pixels // self.patch_size**2
        return max(area, MAX_ASPECT_RATIO * self.merge_size**2)

    @property
    def factor(self) -> int:
        """Side of one language-model token, in pixels; image sizes are multiples of it."""
        return self.patch_size * self.merge_size


def read_image_settings(
    directory: Path, *, min_pixels: int | None = None, max_pixels: int | None = None
) -> ImageSettings:
    """Reads the image settings of a model directory.

    They are the ``image_processor`` entry of ``processor_config.json`` (as transformers 5 saves it)
    or else ``preprocessor_config.json`` (as published). ``min_pixels`` and ``max_pixels`` replace
    the directory's values.

    Raises:
        FileNotFoundError: Neither file is there.
        ValueError: A field is missing, ill-typed, unsupported or inconsistent.
    """
    for name, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if value is not None:
            integer(value, name)
    config, where = _image_config(directory)
    _check_supported(config, where)
    settings: dict[str, Any] = {
        "min_pixels": min_pixels or _area(config, where, "min_pixels", "shortest_edge"),
        "max_pixels": max_pixels or _area(config, where, "max_pixels", "longest_edge"),
        "mean": _channels(config, where, "image_mean"),
        "std": _channels(config, where, "image_std"),
    }
    for name in ("patch_size", "temporal_patch_size", "merge_size"):
        settings[name] = integer(_field(config, where, name), f"{where}: {name}")
    if config.get("rescale_factor") is not None:
        scale = finite_number(f"{where}: rescale_factor", config["rescale_factor"])
        settings["rescale_factor"] = scale
    try:
        return ImageSettings(**settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _image_config(directory: Path) -> tuple[dict[str, Any], str]:
    saved = directory / "processor_config.json"
    nested = read_optional_json(saved).get("image_processor")
    if nested is not None:
        if not isinstance(nested, dict):
            raise ValueError(f"{saved}: image_processor: expected an object, got {brief(nested)}")
        return nested, f"{saved}: image_processor"
    path = directory / "preprocessor_config.json"
    return read_json(path), str(path)


def _check_supported(config: Mapping[str, Any], where: str) -> None:
    for name in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
        if config.get(name) not in (None, True):
            raise ValueError(f"{where}: {name}: only true is supported, got {brief(config[name])}")
    resample = config.get("resample")
    if resample not in (None, int(Image.Resampling.BICUBIC)):
        raise ValueError(f"{where}: resample: only 3 (bicubic) is supported, got {brief(resample)}")


def _field(config: Mapping[str, Any], where: str, name: str) -> Any:
    if config.get(name) is None:
        raise ValueError(f"{where}: the field {name} is missing")
    return config[name]


def _area(config: Mapping[str, Any], where: str, name: str, edge: str) -> int:
    """A bound on the area, from its own field or from ``size`` under its new or old name."""
    size = config.get("size") or {}
    for value in (config.get(name), size.get(edge), size.get(name)):
        if value is not None:
            return integer(value, f"{where}: {name}")
    raise ValueError(f"{where}: the field {name} (or size.{edge}) is missing")


def _channels(config: Mapping[str, Any], where: str, name: str) -> tuple[float, ...]:
    values = _field(config, where, name)
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{where}: {name}: expected three numbers, got {brief(values)}")
    return tuple(finite_number(f"{where}: {name}", value) for value in values)


def smart_resize(
    height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """Returns the height and width that an image is resized to.

    They are the nearest multiples of ``factor``. If their product is outside
    ``min_pixels..max_pixels``, both sides are scaled alike until it is not.

    Raises:
        ImageError: One side is more than 200 times the other.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageError(
            f"{width}x{height} pixels: one side is more than {MAX_ASPECT_RATIO} times the other"
        )
    # As in training, halves round to even and the area may round to 0.
    new_height = round(height / factor) * factor
    new_width = round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def grid_of(height: int, width: int, settings: ImageSettings) -> tuple[int, int]:
    """Rows and columns of patches of an image of this size; raises as `smart_resize`."""
    new_height, new_width = smart_resize(
        height,
        width,
        factor=settings.factor,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
    )
    return new_height // settings.patch_size, new_width // settings.patch_size


def extract_patches(rgb: np.ndarray, settings: ImageSettings) -> ImagePatches:
    """Resizes and normalises an image, uint8 ``[H, W, 3]``, and cuts it into patches.

    They are float32 ``[P, 3 * temporal_patch_size * patch_size**2]``, ordered as `ImagePatches`.

    Raises:
        ImageError: One side is more than 200 times the other.
        ValueError: ``rgb`` has another shape or dtype.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb: expected uint8 [H, W, 3], got {rgb.dtype} {list(rgb.shape)}")
    grid = grid_of(rgb.shape[0], rgb.shape[1], settings)
    patch, merge = settings.patch_size, settings.merge_size
    height, width = grid[0] * patch, grid[1] * patch
    resized = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    blocks = resized.reshape(grid[0] // merge, merge, patch, grid[1] // merge, merge, patch, 3)
    # [unit row, unit column, row and column in the unit, channel, row and column in the patch]
    blocks = blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3, patch, patch)
    patches = np.empty((len(blocks), 3, settings.temporal_patch_size, patch, patch), np.float32)
    for channel, levels in enumerate(_normalised_levels(settings)):
        patches[:, channel] = levels[blocks[:, channel]][:, np.newaxis]
    digest = hashlib.blake2b(resized.tobytes() + bytes(str(grid), "ascii"), digest_size=16)
    return ImagePatches(patches.reshape(len(blocks), -1), grid, digest=digest.hexdigest())


def picture_of(image: ImagePatches, settings: ImageSettings) -> np.ndarray:
    """The resized picture that patches were cut from, uint8 ``[H, W, 3]``."""
    patch, merge = settings.patch_size, settings.merge_size
    shape = (-1, 3, settings.temporal_patch_size, patch, patch)
    # The frames of a still image are the same.
    frame = image.patches.reshape(shape)[:, :, 0]
    mean, std = (
        np.array(values, np.float32)[:, np.newaxis, np.newaxis]
        for values in (settings.mean, settings.std)
    )
    levels = np.rint((frame * std + mean) / np.float32(settings.rescale_factor))
    rows, columns = image.grid
    blocks = levels.astype(np.uint8).reshape(
        rows // merge, columns // merge, merge, merge, 3, patch, patch
    )
    return blocks.transpose(0, 2, 5, 1, 3, 6, 4).reshape(rows * patch, columns * patch, 3)


def _normalised_levels(settings: ImageSettings) -> np.ndarray:
    """The normalised value of each 8-bit level: float32 ``[3, 256]``."""
    # Rounded as the reference does: the product in float64, the rest in float32.
    rescaled = (np.arange(256) * np.float64(settings.rescale_factor)).astype(np.float32)
    mean = np.array(settings.mean, np.float32)[:, np.newaxis]
    std = np.array(settings.std, np.float32)[:, np.newaxis]
    return (rescaled[np.newaxis] - mean) / std
