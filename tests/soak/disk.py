"""A small disk that can be filled and emptied."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

_FILLER = ".filler"
_BLOCK = 1 << 16


class SmallDisk:
    """A file system in memory, mounted on a directory; only root may mount one.

    Args:
        place: The directory, made if it is missing. What is mounted there already is used.
        megabytes: Its size.
    """

    def __init__(self, place: Path, megabytes: int) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(place):
            options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
            subprocess.run(["mount", *options], check=True, capture_output=True, text=True)

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self.place / _FILLER).open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(_BLOCK)):
                pass

    def empty(self) -> None:
        """Frees what was filled."""
        (self.place / _FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        """Takes the disk away, with all that is on it."""
        subprocess.run(["umount", str(self.place)], check=True, capture_output=True, text=True)


def why_none(place: Path) -> str:
    """Why no small disk can be had here; empty if one can."""
    try:
        SmallDisk(place, 1).close()
        place.rmdir()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"mounting a tmpfs needs root: {getattr(error, 'stderr', None) or error}".strip()
    return ""
