from collections import Counter

import pytest

from perl_jax.data import BadRow, JsonlSource
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.processing import load_processor
from tests.soak.rewards import RARITY, hangs, moody
from tests.soak.rows import DAMAGED, DAMAGES, write_rows
from tests.training.resume_config import POLICY


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("rows")
    write_rows(place, count=5 * DAMAGED)
    return place


def test_two_percent_of_the_rows_are_damaged_in_every_way(place):
    source = JsonlSource(place / "rows.jsonl", image_root=place)
    prepare = Preparer(load_processor(POLICY), max_prompt_tokens=80)
    reasons = Counter()
    for number in range(len(source)):
        try:
            prepare(source[number])
        except BadRow as error:
            reasons[error.reason] += 1
    assert len(source) == 250
    assert reasons == {"bad_image": 2, "missing_image": 1, "image_count": 1, "answer_null": 1}
    assert len(DAMAGES) == 5


def test_the_rows_are_alike_every_time(place, tmp_path):
    write_rows(tmp_path, count=5 * DAMAGED)
    for file in place.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_the_reward_hangs_over_few_groups_and_the_same_ones():
    groups = [([f"row{n}"] * 2, [f"answer {n}", "none"]) for n in range(40 * RARITY)]
    struck = [n for n, group in enumerate(groups) if hangs(*group)]
    assert 20 < len(struck) < 60
    assert struck == [n for n, group in enumerate(groups) if hangs(*group)]
    ids, responses = groups[next(n for n in range(RARITY) if n not in struck)]
    assert moody(responses, ids) == [0.5, 0.5]
