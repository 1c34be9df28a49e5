"""The model's configuration, read from the config.json of its directory.

Every number comes from the file: published files differ from the defaults of transformers' classes.
Two layouts are in use: the hub's (text fields at the top level, ``rope_scaling``) and that of
transformers 5 (``text_config``, ``rope_parameters``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL_TYPE = "qwen2_5_vl"


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower. Sizes in pixels where the name says patch_size or window_size."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int
    patch_size: int
    temporal_patch_size: int
    in_channels: int
    spatial_merge_size: int
    window_size: int
    full_attention_blocks: tuple[int, ...]
    # Not in any config.json: constants of the published model.
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def patches_per_unit(self) -> int:
        """Patches that are merged into one language-model token."""
        return self.spatial_merge_size**2

    @property
    def window_units(self) -> int:
        """Side of an attention window, in units."""
        return self.window_size // self.patch_size // self.spatial_merge_size


@dataclass(frozen=True)
class TextConfig:
    """The language model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, ...]  # three: temporal, height, width

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True)
class Qwen2_5_VLConfig:
    """The whole model; token ids as the config.json gives them."""

    text: TextConfig
    vision: VisionConfig
    tied: bool
    image_token: int


def read_config(directory: Path) -> tuple[Qwen2_5_VLConfig, dict[str, Any]]:
    """Reads and checks ``config.json``.

    Returns:
        The configuration, and the file's content as it stands, for writing it back.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: the file is not JSON, misses a field, or asks for what is not implemented.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a model directory holds a config.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    return parse_config(content, where=str(path)), content


def parse_config(content: Mapping[str, Any], *, where: str = "config.json") -> Qwen2_5_VLConfig:
    """Builds the configuration from the content of a config.json of either layout.

    Raises:
        ValueError: a field is missing, inconsistent or not implemented; the message names it.
    """
    root = _Section(content, where)
    model_type = root.get("model_type")
    if model_type != MODEL_TYPE:
        raise ValueError(f"{where}: model_type: expected {MODEL_TYPE!r}, got {model_type!r}")
    if "auto_map" in content:
        raise ValueError(f"{where}: auto_map: models that bring their own code are not loaded")
    nested = "text_config" in content
    text_section = root.section("text_config") if nested else root
    text = _text(text_section)
    vision = _vision(root.section("vision_config"))
    if vision.out_hidden_size != text.hidden_size:
        raise ValueError(
            f"{where}: vision_config.out_hidden_size: expected the text model's hidden_size "
            f"{text.hidden_size}, got {vision.out_hidden_size}"
        )
    # Saves of transformers 4.5x have the flag inside text_config.
    flags = [root.get("tie_word_embeddings", False), text_section.get("tie_word_embeddings", False)]
    return Qwen2_5_VLConfig(
        text=text, vision=vision, tied=any(flags), image_token=root.integer("image_token_id")
    )


@dataclass(frozen=True)
class _Section:
    """A JSON object that knows where it stands, so that errors can say so."""

    content: Mapping[str, Any]
    where: str

    def get(self, name: str, default: Any = None) -> Any:
        value = self.content.get(name)
        return default if value is None else value

    def section(self, name: str) -> "_Section":
        value = self.content.get(name)
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.where}: {name}: expected an object, got {value!r}")
        return _Section(value, f"{self.where}: {name}")

    def integer(self, name: str) -> int:
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{self.where}: {name}: expected a whole number, got {value!r}")
        return value

    def size(self, name: str) -> int:
        value = self.integer(name)
        if value == 0:
            raise ValueError(f"{self.where}: {name}: expected at least 1, got 0")
        return value

    def number(self, name: str) -> float:
        value = self.content.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{self.where}: {name}: expected a number, got {value!r}")
        return float(value)

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.content.get(name)
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise ValueError(f"{self.where}: {name}: expected a list of integers, got {value!r}")
        return tuple(value)

    def only(self, name: str, *implemented: Any) -> None:
        """Refuses a value that would change what the model computes in a way we do not."""
        value = self.get(name, implemented[0])
        if value not in implemented:
            choices = " or ".join(repr(choice) for choice in implemented)
            raise ValueError(f"{self.where}: {name}: expected {choices}, got {value!r}")

    def divides(self, divisor: str, dividend: str) -> None:
        if self.size(dividend) % self.size(divisor):
            raise ValueError(
                f"{self.where}: {divisor}: expected a divisor of {dividend} "
                f"{self.content[dividend]}, got {self.content[divisor]}"
            )


def _text(section: _Section) -> TextConfig:
    section.only("hidden_act", "silu")
    section.only("use_sliding_window", False)
    section.divides("num_attention_heads", "hidden_size")
    section.divides("num_key_value_heads", "num_attention_heads")
    if "rope_parameters" in section.content:
        rope = section.section("rope_parameters")
        theta = rope.number("rope_theta")
    else:
        rope = section.section("rope_scaling")
        theta = section.number("rope_theta")
    # "mrope" is the hub's name for the plain frequencies; transformers renames it to "default".
    rope.only("type", "mrope", "default")
    rope.only("rope_type", "default", "mrope")
    config = TextConfig(
        vocab_size=section.size("vocab_size"),
        hidden_size=section.size("hidden_size"),
        intermediate_size=section.size("intermediate_size"),
        num_layers=section.size("num_hidden_layers"),
        num_heads=section.size("num_attention_heads"),
        num_kv_heads=section.size("num_key_value_heads"),
        rms_norm_eps=section.number("rms_norm_eps"),
        rope_theta=theta,
        mrope_section=rope.integers("mrope_section"),
    )
    if len(config.mrope_section) != 3 or 2 * sum(config.mrope_section) != config.head_dim:
        raise ValueError(
            f"{rope.where}: mrope_section: expected three numbers that sum to "
            f"{config.head_dim // 2}, half the head width, got {list(config.mrope_section)}"
        )
    return config


def _vision(section: _Section) -> VisionConfig:
    section.only("hidden_act", "silu")
    section.divides("num_heads", "hidden_size")
    config = VisionConfig(
        depth=section.size("depth"),
        hidden_size=section.size("hidden_size"),
        intermediate_size=section.size("intermediate_size"),
        num_heads=section.size("num_heads"),
        out_hidden_size=section.size("out_hidden_size"),
        patch_size=section.size("patch_size"),
        temporal_patch_size=section.size("temporal_patch_size"),
        # The hub's files say in_chans, transformers' class in_channels.
        in_channels=section.size("in_chans" if "in_chans" in section.content else "in_channels"),
        spatial_merge_size=section.size("spatial_merge_size"),
        window_size=section.size("window_size"),
        full_attention_blocks=section.integers("fullatt_block_indexes"),
    )
    if config.head_dim % 4:
        raise ValueError(
            f"{section.where}: num_heads: expected a head width that is a multiple of 4 "
            f"(row and column angles, each in pairs), got {config.head_dim}"
        )
    if config.window_units == 0:
        raise ValueError(
            f"{section.where}: window_size: expected at least patch_size x spatial_merge_size, "
            f"got {config.window_size}"
        )
    outside = [n for n in config.full_attention_blocks if not 0 <= n < config.depth]
    if outside:
        raise ValueError(
            f"{section.where}: fullatt_block_indexes: expected numbers below the depth "
            f"{config.depth}, got {outside}"
        )
    return config
