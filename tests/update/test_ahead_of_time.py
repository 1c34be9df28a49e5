"""What an update takes on TPUs, compiled for them without one."""

import pytest

from tests.libtpu import compiled, needs_libtpu

pytestmark = [pytest.mark.soak, needs_libtpu]


@pytest.fixture(scope="module")
def update():
    """The 7B update on sixteen v5e chips, float32 parameters and gradients, one order a chip."""
    return compiled("tests.update.update_on_topology", "v5e:4x4", "7B", "float32", "1", "16", "1")


def test_the_7b_update_on_sixteen_chips_takes_three_gibibytes_beside_its_arguments(update):
    assert update["temporary"] <= 3 * 2**30


def test_gradients_are_added_up_in_place_and_lie_as_the_parameters_do(update):
    assert update["gradients"] > 2 * 10**9
    assert update["aliased"] >= update["gradients"]
    assert update["moved"] == []


def test_no_collective_moves_more_than_one_matrix_of_one_layer(update):
    """Weights travel, a matrix at a time and in bfloat16; no whole batch of activations does."""
    assert update["collectives"]["all-gather"][0] > 0
    matrix = 2 * 18944 * 3584
    for kind, (_, largest) in update["collectives"].items():
        assert largest <= matrix, kind
