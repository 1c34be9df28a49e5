"""Floating-point operations that a forward pass cannot do without.

Two for each multiply-add of every matrix product, of real tokens and patches alone: no padding,
no masked pairs of tokens, nothing that is computed again.
"""

from itertools import product

from perl_jax.models.policy import Traffic
from perl_jax.models.qwen2_5_vl.sizes import TextConfig, VisionConfig


def image_operations(config: VisionConfig, grid: tuple[int, int]) -> int:
    """Of encoding one image.

    Args:
        config: Of the vision tower.
        grid: Rows and columns of the image, in patches.
    """
    width, unit = config.hidden_size, config.patches_per_unit
    patches = grid[0] * grid[1]
    windows = (_pieces(side // config.spatial_merge_size, config.window_units) for side in grid)
    in_windows = sum((unit * rows * columns) ** 2 for rows, columns in product(*windows))
    full = len(config.full_attention_blocks)
    pairs = full * patches**2 + (config.depth - full) * in_windows
    block = 4 * width**2 + 3 * width * config.intermediate_size
    per_patch = config.patch_width * width + config.depth * block
    joined = width * unit
    merger = joined**2 + joined * config.out_hidden_size
    return 2 * (patches * per_patch + 2 * width * pairs + patches // unit * merger)


def text_operations(config: TextConfig, *, tokens: int, pairs: int, predicted: int) -> int:
    """Of reading tokens and predicting some.

    Args:
        config: Of the language model.
        tokens: How many are read.
        pairs: How many pairs of a token and one that it attends to, itself included.
        predicted: For how many tokens the whole vocabulary is scored.
    """
    width, queries = config.hidden_size, config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    layer = 2 * width * (queries + keys) + 3 * width * config.intermediate_size
    attention = 2 * queries * pairs
    return 2 * (
        config.num_layers * (tokens * layer + attention) + predicted * width * config.vocab_size
    )


def traffic(text: TextConfig, vision: VisionConfig, tensor: int) -> Traffic:
    """What a pass moves on one chip, see `Traffic`, where layers are split into parts."""
    heads, keys = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    split = (2 * heads + 2 * keys + 3 * text.intermediate_size) / tensor
    layer = text.hidden_size * (2 * heads + 2 * keys + 3 * text.intermediate_size) / tensor
    width = vision.hidden_size
    block = 4 * width**2 + 3 * width * vision.intermediate_size
    return Traffic(
        text_weights=text.num_layers * layer + text.vocab_size * text.hidden_size / tensor,
        of_token=text.num_layers * (4 * text.hidden_size + split),
        of_pair=text.num_layers * text.num_heads / tensor,
        vision_weights=vision.depth * block,
        of_patch=vision.depth * (8 * width + 3 * vision.intermediate_size),
    )


def _pieces(length: int, size: int) -> list[int]:
    """A length cut into pieces of a size, the last one shorter."""
    return [min(size, length - start) for start in range(0, length, size)]
