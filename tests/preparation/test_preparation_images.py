"""Perceptual hashes, and what is told by them: duplicates, and splits that share no image."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.preparation.deduplicate import DeduplicateConfig, deduplicate_rows
from perl_jax.preparation.image_hash import WORDS, NearImages, distances, image_hash
from perl_jax.preparation.split import SplitConfig, split_rows
from perl_jax.preparation.stage import KeptRow
from tests.data.sources.parquet_files import digit_png
from tests.preparation.preparing import bad_row, example, kept, left_out, run_stage, told


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(seed):
    """Smooth colours, as nature has them, of 300 x 200 pixels."""
    blobs = np.random.default_rng(seed).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((300, 200), Image.Resampling.BICUBIC)


def drawing(seed):
    image = Image.new("RGB", (400, 300), "white")
    corners = np.random.default_rng(seed).integers(20, 280, (3, 2))
    ImageDraw.Draw(image).polygon([tuple(map(int, corner)) for corner in corners], outline="black")
    return image


def distance(a, b):
    return int(distances(image_hash(a)[None], image_hash(b))[0])


def test_the_bits_of_a_hash_are_where_the_image_becomes_brighter():
    columns = np.tile(np.arange(17, dtype=np.uint8) * 10, (17, 1))
    to_the_right, down, flat = (
        np.unpackbits(image_hash(saved(Image.fromarray(pixels))).view(np.uint8))
        for pixels in (columns, columns.T.copy(), np.full((17, 17), 90, np.uint8))
    )
    assert to_the_right.tolist() == [1] * 256 + [0] * 256
    assert down.tolist() == [0] * 256 + [1] * 256
    assert flat.sum() == 0


def test_an_image_that_is_saved_again_is_near_and_others_are_far():
    for make in (photograph, drawing):
        images = [make(seed) for seed in range(12)]
        for image in images:
            assert distance(saved(image), saved(image.convert("RGB"), "JPEG", quality=90)) <= 6
        hashes = np.stack([image_hash(saved(image)) for image in images])
        for n, own in enumerate(hashes):
            assert np.delete(distances(hashes, own), n).min() > 6


def test_near_images_are_those_that_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    hashes = [rng.integers(0, 2**64, WORDS, dtype=np.uint64) for _ in range(40)]
    for _ in range(160):
        near = hashes[rng.integers(len(hashes))].copy()
        for bit in rng.integers(0, 64 * WORDS, rng.integers(0, 9)).tolist():
            near[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        hashes.append(near)
    for most in (0, 3, WORDS - 1):
        index, distinct = NearImages(most), []
        for own in hashes:
            same = [n for n, other in enumerate(distinct) if np.array_equal(own, other)]
            if same:
                assert index.add(own) == (same[0], ())
                continue
            gaps = [bin(int(a ^ b)) for other in distinct for a, b in zip(own, other, strict=True)]
            bits = np.array([gap.count("1") for gap in gaps]).reshape(-1, WORDS).sum(1)
            assert index.add(own) == (len(distinct), tuple(np.flatnonzero(bits <= most).tolist()))
            distinct.append(own)


def test_a_row_that_says_the_same_of_the_same_images_is_a_duplicate(tmp_path):
    one, two = saved(photograph(1)), saved(photograph(2))
    again = saved(photograph(1), "JPEG", quality=90)
    said = "<image><image> Which digit is larger?\nA. the first\nB. the second"
    rows = [
        example(0, images=(one, two)),
        example(1, images=(again, two), question=said.upper().replace("IMAGE", "image")),
        example(2, images=(two, one)),
        example(3, images=(one, two), answer="B"),
        example(4, images=(one, two), question=said + " Say."),
        example(5, images=(one, two), question=said.replace("\n", " \n\t")),
        example(6, images=(one,)),
        bad_row(),
        example(7, images=(two, again)),
        example(8, images=(one, b"damaged")),
    ]
    outcomes = run_stage(deduplicate_rows, rows, DeduplicateConfig(), tmp_path)
    assert left_out(outcomes) == {
        "row-1": ("duplicate", "row-0"),
        "row-5": ("duplicate", "row-0"),
        "row-7": ("duplicate", "row-2"),
    }
    assert [told(outcomes)[7], told(outcomes)[9]] == ["missing_image", "bad_image"]
    assert kept(outcomes) == [rows[n] for n in (0, 2, 3, 4, 6)]


def test_only_equal_hashes_are_duplicates_at_distance_0(tmp_path):
    images = [saved(photograph(3), "JPEG", quality=quality) for quality in (95, 40)]
    assert distance(*images) > 0
    rows = [example(n, images=(image,), question="<image>?") for n, image in enumerate(images)]
    outcomes = run_stage(deduplicate_rows, [*rows, rows[0]], DeduplicateConfig(0), tmp_path)
    assert told(outcomes) == ["", "", "duplicate"]


def folders(outcomes):
    return {one.example.id: one.folder for one in outcomes if isinstance(one, KeptRow)}


def test_no_image_is_on_both_sides(tmp_path):
    source = Digits(DigitsConfig(rows=150, images=(2, 3), kinds=("position",)))
    rows = [source[n] for n in range(150)]
    outcomes = run_stage(split_rows, rows, SplitConfig(0.2), tmp_path)
    sides = folders(outcomes)
    assert list(sides) == [row.id for row in rows]
    images = {"train": set(), "held_out": set()}
    for row in rows:
        images[sides[row.id]].update(row.images)
    assert not images["train"] & images["held_out"]
    held = Counter(sides.values())["held_out"]
    assert 20 <= held <= 30
    assert outcomes == run_stage(split_rows, rows, SplitConfig(0.2), tmp_path)
    assert sides != folders(run_stage(split_rows, rows, SplitConfig(0.2), tmp_path, seed=1))


def test_rows_are_connected_by_other_rows_and_by_images_that_look_the_same(tmp_path):
    def row(n, *images):
        return example(n, images=images, question="<image>" * len(images))

    photos = [saved(photograph(n)) for n in range(12)]
    chain = [
        row(0, photos[0], photos[1]),
        row(1, photos[2], photos[3]),
        row(2, saved(photograph(1), "JPEG", quality=90), photos[2]),
    ]
    others = [row(n, photos[n + 1]) for n in range(3, 9)]
    rows = [*chain, bad_row(), *others]
    sizes = set()
    for seed in range(12):
        outcomes = run_stage(split_rows, rows, SplitConfig(0.5), tmp_path, seed=seed)
        assert told(outcomes)[3] == "missing_image"
        sides = folders(outcomes)
        assert len({sides[f"row-{n}"] for n in range(3)}) == 1
        sizes.add(sides["row-0"])
        assert Counter(sides.values())["held_out"] == 4
    assert sizes == {"train", "held_out"}


def test_a_share_that_no_group_fits_is_an_error(tmp_path):
    rows = [example(n, images=(digit_png(0),), question="<image>?") for n in range(10)]
    message = r"1 groups of rows .* smallest of 10 rows, where at most 2"
    with pytest.raises(ValueError, match=message):
        run_stage(split_rows, rows, SplitConfig(0.25), tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SplitConfig(0.0), "held_out: expected a share"),
        (lambda: SplitConfig(max_distance=8), "max_distance: expected 0 to 7 bits; got 8"),
        (lambda: DeduplicateConfig(-1), "max_distance: expected 0 to 7 bits; got -1"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
