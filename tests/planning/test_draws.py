"""How many groups a step draws, by hand."""

import pytest

from perl_jax.planning.draws import Draws


def test_two_deviations_are_drawn_ahead_of_the_mean():
    # 128 / 0.5 = 256, and twice sqrt(128 x 0.5) / 0.5 = 16.
    half = Draws.of(128, 0.5, 512)
    assert (half.kept, half.needed, half.drawn, half.surplus) == (128, 256, 288, 32)
    # 100 / 0.8 = 125, and twice sqrt(100 x 0.2) / 0.8 = 5.59.
    most = Draws.of(100, 0.8, 400)
    assert (most.kept, most.needed, most.drawn) == (100, 125, 137)


def test_the_cap_ends_the_draw_and_leaves_fewer():
    # 128 / 0.2 = 640 groups are more than 512, of which 102 inform.
    few = Draws.of(128, 0.2, 512)
    assert (few.kept, few.needed, few.drawn, few.surplus) == (102, 512, 512, 0)
    assert few.lines(10)[0].endswith(
        "512 are drawn, 0 of them ahead (0% surplus): the most that filtering.max_draws allows, "
        "which leaves a batch of 102 in place of 128 groups."
    )
    # 16 / 0.5 = 32 are just enough, and none may be drawn ahead.
    just = Draws.of(16, 0.5, 32)
    assert (just.kept, just.drawn, just.surplus) == (16, 32, 0)
    assert just.lines(10)[0].endswith("(0% surplus): the most that filtering.max_draws allows.")


@pytest.mark.parametrize("draws", [Draws.of(16, 1.0, 64), Draws.unfiltered(16)])
def test_where_every_group_informs_none_is_drawn_in_vain(draws):
    assert (draws.kept, draws.drawn, draws.surplus) == (16, 16, 0)
    assert draws.lines(10) == ["Every group drawn is kept."]


def test_tokens_drawn_and_kept_are_told():
    lines = Draws.of(128, 0.5, 512).lines(1000)
    assert lines[0].startswith("At a pass rate of 0.5, 256 groups hold 128 that inform on average.")
    assert "288 are drawn, 32 of them ahead (11% surplus): two deviations" in lines[0]
    assert lines[1] == "Tokens of responses: 288,000 drawn, 128,000 kept (44%)."
