"""What an update takes on TPUs, compiled for them without one; and, of a small model, on CPUs."""

from dataclasses import replace

import jax
import pytest

from perl_jax.mesh import make_mesh
from tests.libtpu import compiled, needs_libtpu
from tests.update.cases import quick_compilation
from tests.update.update_on_topology import MLP, WIDTH, described, small_config


def test_on_cpus_gradients_are_added_up_in_place_and_only_weights_travel():
    """What the others show of 7B on TPUs; the compiler takes no kernels and widens bfloat16."""
    mesh = make_mesh(fsdp=4, devices=jax.devices()[:4])
    with quick_compilation():
        update = described(mesh, small_config(), "float32", None)
    assert update["gradients"] > 10**7
    assert update["aliased"] >= update["gradients"]
    assert update["moved"] == []
    assert update["collectives"]["all-gather"][0] > 0
    for kind, (_, largest) in update["collectives"].items():
        assert largest <= 4 * WIDTH * MLP, kind


def test_only_embeddings_and_the_head_change_how_they_are_split_on_cpus():
    """Not the heads nor the hidden units of split layers, whose activations would travel twice."""
    config = small_config()
    config = replace(config, text=replace(config.text, num_kv_heads=2))
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    with quick_compilation():
        update = described(mesh, config, "float32", None)
    assert update["collectives"]["all-to-all"][0] <= 4
    # 44 or 45; 51 and more where heads, or the tokens that a layer reads, are not held as they are.
    assert update["collectives"]["all-gather"][0] <= 48


@pytest.fixture(scope="module")
def update():
    """The 7B update on sixteen v5e chips, float32 parameters and gradients, one order a chip."""
    return compiled("tests.update.update_on_topology", "v5e:4x4", "7B", "float32", "1", "16", "1")


def needs_7b(test):
    """Minutes of compiling."""
    return pytest.mark.soak(needs_libtpu(test))


@needs_7b
def test_the_7b_update_on_sixteen_chips_takes_three_gibibytes_beside_its_arguments(update):
    assert update["temporary"] <= 3 * 2**30


@needs_7b
def test_gradients_are_added_up_in_place_and_lie_as_the_parameters_do(update):
    assert update["gradients"] > 2 * 10**9
    assert update["aliased"] >= update["gradients"]
    assert update["moved"] == []


@needs_7b
def test_no_collective_moves_more_than_one_matrix_of_one_layer(update):
    """Weights travel, a matrix at a time and in bfloat16; no whole batch of activations does."""
    assert update["collectives"]["all-gather"][0] > 0
    matrix = 2 * 18944 * 3584
    for kind, (_, largest) in update["collectives"].items():
        assert largest <= matrix, kind


@needs_7b
def test_weights_are_gathered_and_go_around_no_ring(update):
    """Parts that go around a ring have the chip read and write whole results for each of them."""
    assert "collective-permute" not in update["collectives"]


@pytest.mark.parametrize(("topology", "used"), [("v5e:4x4", 0.44), ("v5p:2x2x4", 0.40)])
@needs_7b
def test_where_inputs_of_layers_are_kept_two_fifths_of_the_chip_are_used(topology, used):
    """By the compiler's estimate; kernels at 30% of the peak, links at 80% of their rate."""
    update = compiled(
        "tests.update.update_on_topology", topology, "7B", "float32", "1", "16", "1", "inputs"
    )
    assert update["expected"]["mfu"] >= used
    assert update["temporary"] <= 3.1 * 2**30


@pytest.fixture(scope="module")
def update_of_split_layers():
    """The same on 64 chips, each layer split over four of them."""
    return compiled("tests.update.update_on_topology", "v5e:8x8", "7B", "float32", "1", "16", "4")


@needs_7b
def test_heads_and_hidden_units_stay_split_where_layers_are(update_of_split_layers):
    """What stands between two layers moves once; queries, keys, values and an MLP's insides do not.

    Only embeddings and the head change how they are split, outside the layers.
    """
    collectives = update_of_split_layers["collectives"]
    number, largest = collectives["all-to-all"]
    assert number <= 4
    assert largest == 2 * 2952 * 3584 * 2
    assert collectives["collective-permute"][0] <= 2
    assert update_of_split_layers["temporary"] <= 1.2 * 2**30
