"""Small copies of the pictures that a run shows, each written once, named by its content."""

import io
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from flax.serialization import msgpack_restore, msgpack_serialize
from PIL import Image

from perl_jax import hosts
from perl_jax.mesh import BatchSharding
from perl_jax.processing import ImageSettings, picture_of
from perl_jax.types import ImagePatches

SUFFIX = ".jpg"
_SIDE = 256
_QUALITY = 90
# The most bytes of copies that all other hosts together send after a step; more follow after later
# steps. They travel over the network of the devices, which hold them meanwhile.
_SENT_BYTES = 8 * 2**20


class Album(AbstractContextManager["Album"]):
    """The copies of a run's pictures, made by a thread while the run goes on.

    On several hosts each makes those of its own pictures, and sends them to the main host.

    Args:
        directory: Where the main host writes ``DIGEST.jpg``; made if it is missing. What is there
            stays, and is not made again.
        settings: Those that the pictures were prepared with.
        sharding: The hosts that hold the pictures.
    """

    def __init__(
        self, directory: Path, settings: ImageSettings, sharding: BatchSharding | None = None
    ) -> None:
        self._directory, self._settings = directory, settings
        self._sharding = sharding or BatchSharding()
        self._thread = ThreadPoolExecutor(1, "album")
        self._making: dict[str, Future[bytes]] = {}
        self._known: set[str] = set()
        if hosts.is_main():
            directory.mkdir(parents=True, exist_ok=True)
            self._known = {file.stem for file in directory.glob(f"*{SUFFIX}")}
            # Left by a killed process.
            for file in directory.glob(".*.partial"):
                file.unlink()

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, images: Iterable[ImagePatches]) -> None:
        """Begins to copy the pictures that are new here; those of other hosts are theirs to add."""
        for image in images if self._sharding.is_leader else ():
            if image.digest and len(image.patches) and image.digest not in self._known:
                self._known.add(image.digest)
                self._making[image.digest] = self._thread.submit(_copy, image, self._settings)

    def write(self) -> None:
        """Writes what was added since the last call; all hosts must call it.

        Raises:
            OSError: A copy cannot be written.
        """
        if self._sharding.num_feeds == 1:
            copies = [{digest: copy.result() for digest, copy in self._making.items()}]
            self._making.clear()
        else:
            told = hosts.gather_bytes(msgpack_serialize(self._next_sent()), "copies of pictures")
            copies = [msgpack_restore(row) for row in told] if hosts.is_main() else []
        for digest, copy in (item for of_host in copies for item in of_host.items()):
            if hosts.is_main():
                self._write(digest, copy)

    def _next_sent(self) -> dict[str, bytes]:
        sent, size = dict[str, bytes](), 0
        for digest in list(self._making):
            copy = self._making[digest].result()
            size += len(copy)
            if sent and size > _SENT_BYTES // self._sharding.num_feeds:
                break
            sent[digest] = copy
            del self._making[digest]
        return sent

    def _write(self, digest: str, copy: bytes) -> None:
        # Not synced to the disk, as a step may show hundreds; the next run makes a lost one again.
        partial = self._directory / f".{digest}.partial"
        partial.write_bytes(copy)
        os.replace(partial, self._directory / f"{digest}{SUFFIX}")


def _copy(image: ImagePatches, settings: ImageSettings) -> bytes:
    """A picture of at most 256 pixels a side, as JPEG."""
    picture = Image.fromarray(picture_of(image, settings))
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
