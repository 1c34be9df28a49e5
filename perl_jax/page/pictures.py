"""The pictures of the groups that a page shows, each held once, whatever slots show it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from perl_jax.experience.album import SUFFIX
from perl_jax.inspection.thumbnails import Thumbnail, thumbnail
from perl_jax.page.run_files import RunFiles
from perl_jax.processing import ImageError
from perl_jax.training.display.rollout_log import IMAGES

# Larger ones become JPEG.
_MAX_PNG_BYTES = 2**12
_DIGEST = re.compile(r"\w+")


@dataclass(frozen=True)
class Picture:
    """A picture as a class of the page's style sheet, which holds its data."""

    name: str
    copy: Thumbnail


def read_pictures(files: RunFiles, digests: Iterable[str], max_side: int) -> dict[str, Picture]:
    """The pictures that the run kept copies of, by digest.

    Args:
        files: The run.
        digests: Those that are shown.
        max_side: The longest side of a picture in pixels.
    """
    found: dict[str, Picture] = {}
    for digest in dict.fromkeys(digests):
        # The log is only text: a digest of it may not lead out of the folder.
        file = files.find(f"{IMAGES}/{digest}{SUFFIX}") if _DIGEST.fullmatch(digest) else None
        if file is None:
            continue
        try:
            copy = thumbnail(file, max_side, _MAX_PNG_BYTES)
        except ImageError:
            continue
        found[digest] = Picture(f"i{len(found)}", copy)
    return found


def style_of(pictures: Iterable[Picture]) -> str:
    """The rules of a style sheet that draw the pictures."""
    rules = []
    for one in pictures:
        width, height = one.copy.width, one.copy.height
        rendering = ";image-rendering:pixelated" if one.copy.enlarged else ""
        rules.append(
            f".{one.name}{{width:{width}px;aspect-ratio:{width}/{height};"
            f'background-image:url("{one.copy.uri}"){rendering}}}\n'
        )
    return "".join(rules)
