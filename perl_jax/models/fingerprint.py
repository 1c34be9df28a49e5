"""The identity of a model directory: what its files hold, wherever they lie."""

import hashlib
from pathlib import Path

from perl_jax.hub import resolve_directory
from perl_jax.storage import sample

_WHOLE = (".json", ".jinja", ".txt", ".model")
_WEIGHTS = ".safetensors"
# Of a weights file of any size, so much is read: 1 MiB in all.
_BLOCKS, _BLOCK_BYTES = 64, 2**14


def fingerprint_of_model(path: str | Path) -> str:
    """A digest of the model that a path or a hub id names.

    Configuration and tokenizer files enter whole. Of each weights file its name, its size and
    blocks spread evenly over it enter, so that the time does not grow with the size: another
    training run's weights differ nearly everywhere.

    Raises:
        FileNotFoundError: See `perl_jax.hub.resolve_directory`.
    """
    return fingerprint_of_files(resolve_directory(path))


def fingerprint_of_files(directory: Path) -> str:
    """The digest of `fingerprint_of_model` of a local directory, which may hold adapters."""
    digest = hashlib.sha256()
    for file in sorted(directory.iterdir()):
        if file.suffix in _WHOLE:
            content = file.read_bytes()
        elif file.suffix == _WEIGHTS:
            content = sample(str(file), blocks=_BLOCKS, block_bytes=_BLOCK_BYTES)
        else:
            continue
        # Lengths keep the end of one entry from passing for the start of the next.
        for part in (file.name.encode(), content):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
