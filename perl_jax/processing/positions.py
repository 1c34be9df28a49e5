"""The three positions of every token under multimodal RoPE."""

from collections.abc import Sequence

import numpy as np


def multimodal_positions(
    is_image: np.ndarray, grids: Sequence[tuple[int, int]], *, merge_size: int
) -> tuple[np.ndarray, int]:
    """Gives every token its temporal, height and width position.

    A text token advances all three by one. An image's tokens share one temporal position and count
    rows and columns from it; the next token comes after the longer side of the grid::

        text text  image of 2x3 tokens   text
    t    0    1     2  2  2  2  2  2      5
    h    0    1     2  2  2  3  3  3      5
    w    0    1     2  3  4  2  3  4      5

    Args:
        is_image: bool ``[T]``, true at image tokens; those of one image are adjacent, and two
            images may be.
        grids: Rows and columns of each image in patches, in reading order.
        merge_size: Side, in patches, of the square that becomes one token.

    Returns:
        int32 ``[3, T]``, and the rope delta ``max(positions) + 1 - T``.

    Raises:
        ValueError: The number or grouping of the image tokens does not match the grids.
    """
    if is_image.ndim != 1 or is_image.dtype != np.bool_:
        raise ValueError(f"is_image: expected bool [T], got {is_image.dtype} {is_image.shape}")
    sizes = [(rows // merge_size, columns // merge_size) for rows, columns in grids]
    indices = np.flatnonzero(is_image)
    total = sum(rows * columns for rows, columns in sizes)
    if len(indices) != total:
        raise ValueError(f"{len(indices)} image tokens for {total} image features")
    positions = np.empty((3, len(is_image)), np.int32)
    token = position = taken = 0
    for rows, columns in sizes:
        first, count = int(indices[taken]), rows * columns
        if indices[taken + count - 1] != first + count - 1:
            raise ValueError(f"the {count} tokens of the image at token {first} are not adjacent")
        text = first - token
        positions[:, token:first] = np.arange(position, position + text)
        position += text
        last = first + count
        positions[0, first:last] = position
        positions[1, first:last] = position + np.repeat(np.arange(rows), columns)
        positions[2, first:last] = position + np.tile(np.arange(columns), rows)
        position += max(rows, columns)
        token, taken = last, taken + count
    text = len(is_image) - token
    positions[:, token:] = np.arange(position, position + text)
    return positions, position + text - len(is_image)
