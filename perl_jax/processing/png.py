"""Looks at the chunks of a PNG file, so that damaged metadata costs no image."""

import zlib

from perl_jax.processing.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that say something about the picture. A damaged name makes none of the others one of these.
_METADATA = (
    b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD",
    b"hIST", b"pHYs", b"sPLT", b"tIME",
)  # fmt: skip


def without_damaged_metadata(data: bytes) -> bytes:
    """The file without chunks of metadata (texts, a colour profile) whose checksum is wrong.

    Raises:
        ImageError: A chunk that the pixels need is damaged, or the file is cut off.
    """
    kept = [SIGNATURE]
    start = len(SIGNATURE)
    while start < len(data):
        head = data[start : start + 8]
        stop = start + 12 + int.from_bytes(head[:4], "big")
        name = head[4:]
        if len(head) < 8 or stop > len(data):
            raise ImageError(f"PNG that is cut off{_within(name)}")
        intact = zlib.crc32(data[start + 4 : stop - 4]) == int.from_bytes(
            data[stop - 4 : stop], "big"
        )
        if intact:
            kept.append(data[start:stop])
        elif name not in _METADATA:
            raise ImageError(f"PNG with a damaged chunk {_text(name)}: its checksum is wrong")
        start = stop
        if name == b"IEND":
            return b"".join(kept)
    raise ImageError("PNG that is cut off: its last chunk, IEND, is missing")


def _within(name: bytes) -> str:
    return f" within its chunk {_text(name)}" if len(name) == 4 else ""


def _text(name: bytes) -> str:
    return name.decode("ascii") if name.isalpha() else repr(name)
