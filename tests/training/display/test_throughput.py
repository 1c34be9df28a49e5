"""What a step costs and how much of the devices that is."""

import jax
import numpy as np
import pytest

from perl_jax.training.display.throughput import Throughput, peak_of
from perl_jax.types import Responses
from perl_jax.update.operations import Operations, forward_operations
from tests.update.cases import make_group


@pytest.fixture(scope="module")
def group(processor):
    return make_group(processor, "two", [(84, 112), (56, 56)], [[0, 1], [1, 0]])


def responses(lengths):
    lengths = np.array(lengths, np.int32)
    return Responses(np.zeros((*lengths.shape, int(lengths.max())), np.int32), lengths)


def test_a_pass_encodes_an_image_once_and_reads_an_order_once(model, group):
    config = model.config
    got = forward_operations(config, (group,), responses([[[3, 1], [0, 2]]]))
    assert got.vision == sum(config.image_operations(image.grid) for image in group.images)
    start = len(group.prompts[0].tokens)
    reading = 2 * config.text_operations(tokens=start, pairs=start * (start + 1) // 2, predicted=0)
    # Of a response of three tokens two are read: after the prompt, and after that and the first.
    # Responses of two, one and no tokens read one, none and none.
    responding = config.text_operations(
        tokens=3, pairs=(start + 1) + (start + 2) + (start + 1), predicted=6
    )
    assert got.text == reading + responding


def test_groups_without_responses_cost_nothing(model, group):
    once = forward_operations(model.config, (group,), responses([[[3], [2]]]))
    padded = forward_operations(model.config, (group, group), responses([[[3], [2]], [[0], [0]]]))
    assert padded == once


def test_a_frozen_vision_tower_is_only_read():
    operations = Operations(vision=10, text=100)
    assert operations.forward() == 110
    assert operations.update(vision_trained=True, text_trained=True) == 330
    assert operations.update(vision_trained=False, text_trained=True) == 310
    # The gradient of the features passes through the text, whose weights need none.
    assert operations.update(vision_trained=True, text_trained=False) == 230


def test_rates_are_those_of_one_device():
    metrics = Throughput(devices=4, peak=1e9).metrics(tokens=800.0, operations=4e9, seconds=2.0)
    assert metrics == {"perf/tokens_per_second": 100.0, "perf/mfu": 0.5}


@pytest.mark.parametrize(
    ("kind", "teraflops"),
    [("TPU v5 lite", 197), ("TPU v5p", 459), ("TPU v6 lite", 918), ("NVIDIA H100 80GB HBM3", 989)],
)
def test_known_accelerators_have_the_peak_of_their_data_sheets(kind, teraflops):
    device = type("Device", (), {"device_kind": kind})()
    assert peak_of(device) == teraflops * 1e12


def test_another_device_is_measured():
    assert 1e8 < peak_of(jax.devices()[0]) < 1e14
