"""Sizes that arrays are padded to, so that the number of compiled programs stays small."""


def bucket(size: int, *, minimum: int = 1) -> int:
    """The smallest of 2^k and 3·2^k that is at least ``size`` and ``minimum``.

    Padding adds less than half, and a range of sizes up to 2^k needs about 2k programs.

    Raises:
        ValueError: ``size`` is negative.
    """
    if size < 0:
        raise ValueError(f"size: expected at least 0, got {size}")
    size = max(size, minimum)
    power = 1 << (size - 1).bit_length()
    three_quarters = power // 4 * 3
    return three_quarters if three_quarters >= size else power
