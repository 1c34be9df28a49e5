"""From a model's name to the local directory that holds its files."""

import json
import re
from pathlib import Path

# What a model directory is made of. Nothing else is fetched: no pickles, no code.
_SMALL = ["*.json", "*.jinja", "merges.txt", "LICENSE*", "README.md"]
_PATTERNS = [*_SMALL, "*.safetensors"]
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


def resolve_directory(path: str | Path) -> Path:
    """The directory of a model given as a local path or as a hub id.

    Args:
        path: A local directory, or ``organisation/name``, or ``organisation/name@revision``, which
            is fetched through huggingface_hub into its cache (or found there).

    Raises:
        FileNotFoundError: ``path`` is neither a directory nor of the form of a hub id, or the hub
            could not be reached and its cache does not hold the model.
        NotADirectoryError: ``path`` is a file.
        ValueError: It holds an adapter (LoRA, ...) without its model.
    """
    directory = Path(path).expanduser()
    if directory.is_dir():
        return _whole_model(directory)
    if directory.exists():
        raise NotADirectoryError(f"{path}: expected a model directory, got a file")
    if not _HUB_ID.fullmatch(str(path)):
        raise FileNotFoundError(
            f"{path}: no such directory; expected a directory with config.json and safetensors "
            "files, or a hub id, organisation/name"
        )
    return _whole_model(_download(str(path)))


def resolve_without_weights(path: str | Path) -> Path:
    """Like `resolve_directory`, but fetches everything except the weights from the hub.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As `resolve_directory` does.
    """
    if is_hub_id(path):
        return _whole_model(_download(str(path), _SMALL))
    return resolve_directory(path)


def is_hub_id(path: str | Path) -> bool:
    """Whether a path is no file here, and has the form of a hub id."""
    return not Path(path).expanduser().exists() and bool(_HUB_ID.fullmatch(str(path)))


def _whole_model(directory: Path) -> Path:
    adapter = directory / "adapter_config.json"
    if not adapter.is_file() or (directory / "config.json").is_file():
        return directory
    try:
        content = json.loads(adapter.read_text(encoding="utf-8"))
        kind, base = content["peft_type"], content["base_model_name_or_path"]
    except (ValueError, LookupError, TypeError, RecursionError):
        kind, base = "LoRA or the like", "which adapter_config.json does not name"
    kind = "LoRA" if kind == "LORA" else kind
    raise ValueError(
        f"{directory}: expected a model; this is an adapter ({kind}) without its model, {base}: "
        "give that model, and this directory as --adapter (generate, evaluate) or --init_adapter "
        "(train), or give the directory of both merged"
    )


def revision_of(directory: Path) -> str | None:
    """The revision of a directory in the cache of the hub; None for any other directory."""
    return directory.name if directory.parent.name == "snapshots" else None


def _download(hub_id: str, patterns: list[str] = _PATTERNS) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise FileNotFoundError(
            f"{hub_id}: no such directory, and the model hub did not give it "
            f"({type(error).__name__}). With a network, run `hf download {name}` (gated models "
            "need `hf auth login`); without one, copy the model's directory to this machine and "
            "pass its path"
        ) from error
