"""Where the real tokens of a shard stand, and how few of those that are read are padding."""

import numpy as np
import pytest

from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, Prompt, Responses
from perl_jax.update.config import UpdateConfig
from perl_jax.update.layout import Padded, RowShape, lay_out, spread
from perl_jax.update.learner import Learner
from perl_jax.update.packing import PackingConfig, Sizes

# Two prompts of 3 and 2 tokens; the second is asked by two of three orders, the fourth is padding.
PROMPTS, ASKED = [3, 2], [0, 1, 1]
LENGTHS = np.array([[4, 1, 2], [1, 1, 1], [3, 0, 2]])
TO = Padded((3, 4), (4, 3, 5), RowShape(2, 4), tokens=16, predicted=20)


@pytest.fixture(scope="module")
def rows():
    return lay_out(PROMPTS, ASKED, LENGTHS, TO)


def test_every_read_token_stands_once_and_the_last_of_a_response_does_not(rows):
    (source,) = rows.source
    prompts = [0, 1, 2, 4, 5]
    # After 3 prompts of 4 cells: response n of order o begins at 12 + (3 o + n) 5.
    first, third, last = [12, 13, 14], [22], [42, 43, 52]
    assert source.tolist() == [*prompts, *first, *third, *last, -1, -1, -1, -1]


def test_responses_share_rows_and_see_their_own_tokens_only(rows):
    # Order 0 reads 3, 0 and 1 tokens: a row of the first, and one of the others. Order 2 reads
    # 2, 0 and 1, and 0 stands where it takes no place.
    assert rows.starts.shape == (4, 2, 4)
    assert not rows.starts.any()
    shared = lay_out(
        [1], [0], np.array([[4, 3, 2]]), Padded((1, 1), (1, 3, 4), RowShape(1, 8), 8, 9)
    )
    assert shared.starts.tolist() == [[[0, 0, 0, 3, 3, 5, 0, 0]]]
    assert shared.cells.tolist() == [[0, 1, 2, 3, 4, 5, 6, -1, -1]]


def test_cells_and_flat_tokens_name_each_other(rows):
    (cells,), (cell_of,) = rows.cells, rows.cell_of
    held = np.flatnonzero(cell_of >= 0)
    assert len(held) == 12
    np.testing.assert_array_equal(cells[cell_of[held]], held)
    assert (cells >= 0).sum() == 12
    # Prompts stand where they stand in the padded arrays.
    assert cells[:12].tolist() == [0, 1, 2, -1, 3, 4, -1, -1, -1, -1, -1, -1]


def test_every_response_token_is_predicted_where_the_one_before_it_was_read(rows):
    (read_at,), (place,), (source,) = rows.read_at, rows.place, rows.source
    count = LENGTHS.sum()
    assert (place >= 0).sum() == (read_at >= 0).sum() == count
    for at, token in zip(read_at[:count], place[:count], strict=True):
        order, number, slot = token // 15, token % 15 // 5, token % 5
        assert slot < LENGTHS[order, number]
        before = 12 + token - 1 if slot else [2, 5, 5][order]
        assert source[at] == before
    (place_of,) = rows.place_of
    np.testing.assert_array_equal(place_of[place[:count]], np.arange(count))


def test_rows_are_shared_where_that_saves_a_third_of_the_pairs():
    even = np.full((4, 6), 63)
    assert RowShape.of(even, prompt=64, response=64) == RowShape(6, 64)
    # One long response: the others share a row, or all do.
    uneven = np.array([[1000, *[60] * 5], [60] * 6])
    assert RowShape.of(uneven, prompt=64, response=1024) == RowShape(2, 1024)
    short = np.array([[1000, *[20] * 5], [20] * 6])
    assert RowShape.of(short, prompt=64, response=1024) == RowShape(1, 1280)
    none = np.zeros((0, 6), int)
    assert RowShape.of(none, prompt=64, response=1) == RowShape(1, 1)


def test_things_are_spread_evenly_and_alike_on_every_host():
    assert spread([5, 5, 4, 3, 3], 2) == [[0, 2], [1, 3, 4]]
    found = spread([9, 1, 1, 1, 1, 1], 2)
    assert sorted(map(len, found)) == [1, 5]
    assert sorted(map(len, spread([9, 1, 1, 1, 1, 1], 2, most=3))) == [3, 3]
    assert spread([], 3) == [[], [], []]


class Packer(Learner):
    """Only what cuts batches."""

    def __init__(self, shards, micro_groups):
        self.config = UpdateConfig(packing=PackingConfig(micro_groups=micro_groups))
        self.sharding = BatchSharding((tuple(range(shards)),), (0,), host=0)
        self.sizes = []

    def _micro_batch(self, mini, parts):
        groups, responses, _ = mini
        members = [[groups[number] for number in numbers] for numbers in parts]
        lengths = responses.lengths[[number for numbers in parts for number in numbers]]
        packing, every = self.config.packing, responses.lengths
        self.sizes.append(Sizes.of(members, lengths, packing, None, every))


def _log_normal(rng, mean, variation, shape):
    sigma = np.sqrt(np.log1p(variation**2))
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, shape)
    return np.clip(np.ceil(drawn), 1, 2048).astype(np.int32)


@pytest.mark.parametrize("shards", [8, 16, 32])
@pytest.mark.parametrize(("mean", "variation"), [(300, 0.5), (300, 1.0), (512, 0.5)])
def test_at_most_a_quarter_of_what_is_read_is_padding(shards, mean, variation):
    """128 groups of two orders with six responses each, as in the paper."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(1152, np.int32)
    prompt = [Prompt(zeros, np.zeros((3, 1152), np.int32), 0) for _ in range(2)]
    groups = [Group.of(str(number), prompt) for number in range(128)]
    lengths = _log_normal(rng, mean, variation, (128, 2, 6))
    responses = Responses(np.zeros((*lengths.shape, 2048), np.int32), lengths)
    packer = Packer(shards, micro_groups=2 * shards)
    list(packer._micro_batches(groups, responses, {}))
    real = 128 * 2 * 1152 + (lengths - 1).sum()
    assert shards * sum(sizes.tokens for sizes in packer.sizes) <= 1.25 * real
    predicted = shards * sum(sizes.predicted for sizes in packer.sizes)
    assert predicted <= 1.6 * lengths.sum()
    # Attention compares the pairs of its rows, which the longest responses of all shards size.
    pairs = (lengths * (1152.0 + lengths)).sum()
    compared = sum(s.orders * s.rows.pairs(s.prompt) for s in packer.sizes) * shards
    assert compared <= 7.5 * pairs
    # Each shape is a program, and a step needs few.
    assert len({sizes.rows for sizes in packer.sizes}) == 1
    assert len({(sizes.tokens, sizes.predicted) for sizes in packer.sizes}) <= 3
