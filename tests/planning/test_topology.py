"""Names of topologies, the figures of their chips, and devices that are not at hand."""

import importlib.util
from types import SimpleNamespace

import pytest

from perl_jax.chips import CHIPS, GIB, chip_of
from perl_jax.planning.topology import devices_of, parse_topology, parse_type
from perl_jax.training.display.throughput import peak_of


@pytest.mark.parametrize(
    ("name", "devices", "memory"),
    [("v5e:4x4", 16, 16 * GIB), ("v5p:2x4x4", 32, 95 * GIB), ("v6e:4x8", 32, 32 * GIB)],
)
def test_a_tpu_slice_has_the_product_of_its_sides(name, devices, memory):
    topology = parse_topology(name)
    assert (topology.devices, topology.chip.memory) == (devices, memory)
    assert not topology.virtual


def test_virtual_devices_have_the_figures_of_the_chip_asked_for():
    topology = parse_topology("gpu:8", chip="h200")
    assert (topology.devices, topology.chip) == (8, CHIPS["h200"])
    assert topology.virtual


@pytest.mark.parametrize(
    ("name", "chip", "platform"),
    [
        ("v5e:4x4", None, "tpu"), ("h100:8", None, "gpu"), ("gpu:8", None, "gpu"),
        ("gpu:8", "v5e", "cpu"), ("cpu:8", None, "cpu"), ("cpu:8", "h200", "cpu"),
    ],
)  # fmt: skip
def test_kernels_are_those_of_the_chips_but_virtual_cpus_have_none(name, chip, platform):
    assert parse_topology(name, chip=chip).platform == platform


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", r"expected KIND:NUMBERS, such as v5e:4x4"),
        ("v5:4x4", r"expected one of v4, v5e, .*cpu, gpu; got 'v5' \(did you mean 'v5"),
        ("v5p:4x4", r"v5p:4x4: expected 3 positive number\(s\), such as v5p:2x4x4"),
        ("h100:2x4", r"expected 1 positive number\(s\), such as h100:8"),
        ("v5e:0x4", r"expected 2 positive number\(s\)"),
    ],
)
def test_a_topology_that_cannot_be_read_says_what_could(name, message):
    with pytest.raises(ValueError, match=message):
        parse_topology(name)


@pytest.mark.parametrize(
    ("name", "topology", "devices", "one_host"),
    [
        # N chips.
        ("v5litepod-1", "v5e:1x1", 1, True), ("v5litepod-8", "v5e:2x4", 8, True),
        ("v5litepod-16", "v5e:4x4", 16, False), ("v6e-32", "v6e:4x8", 32, False),
        ("v5litepod-256", "v5e:16x16", 256, False),
        # N cores, two a chip.
        ("v4-8", "v4:2x2x1", 4, True), ("v5p-16", "v5p:2x2x2", 8, False),
        ("v5p-32", "v5p:2x2x4", 16, False), ("v4-64", "v4:2x4x4", 32, False),
        ("v5p-128", "v5p:4x4x4", 64, False), ("v5p-256", "v5p:4x4x8", 128, False),
        ("v5p-512", "v5p:4x8x8", 256, False), ("v5p-384", "v5p:4x4x12", 192, False),
        ("v5p-1536", "v5p:8x8x12", 768, False),
        ("h100-8", "h100:8", 8, True), ("h200-16", "h200:16", 16, False),
        ("v5p:2x4x4", "v5p:2x4x4", 32, False),
    ],
)  # fmt: skip
def test_an_accelerator_type_is_the_slice_that_it_gets(name, topology, devices, one_host):
    found = parse_type(name)
    assert (found.name, found.devices, found.one_host) == (topology, devices, one_host)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5-16", r"KIND one of v4, v5litepod, .* got 'v5-16' \(did you mean 'v5p'"),
        ("v5litepod", "expected KIND-N, such as v5litepod-16"),
        ("v5litepod-12", "expected v5litepod-N with N one of 1, 4, 8, 16"),
        ("v5p-4", "expected v5p-N with N one of 8, 16, 32, 64 or 128 x N"),
        ("v5p-192", "expected v5p-N with N one of 8"),
        ("h100-0", "expected h100-N with N one of 1 or more"),
    ],
)
def test_an_accelerator_type_that_there_is_not_says_what_there_is(name, message):
    with pytest.raises(ValueError, match=message):
        parse_type(name)


def test_a_chip_is_not_taken_for_another():
    with pytest.raises(ValueError, match="expected it for cpu:N and gpu:N only"):
        parse_topology("v5e:4x4", chip="h100")
    with pytest.raises(ValueError, match=r"chip: expected one of v4, .*; got 'b200'"):
        parse_topology("gpu:8", chip="b200")


def test_collectives_across_nodes_are_as_slow_as_the_network():
    chip = CHIPS["h100"]
    assert chip.receives(8, 16) == 450e9
    assert chip.receives(16, 16) == 50e9


def test_collectives_of_a_whole_slice_use_every_axis_of_the_torus():
    chip = CHIPS["v5p"]
    assert chip.receives(4, 32) == 180e9
    assert chip.receives(32, 32) == 540e9


@pytest.mark.parametrize(
    ("chip", "kind"),
    [("v5e", "TPU v5 lite"), ("v5p", "TPU v5"), ("v5p", "TPU v5p"), ("h100", "NVIDIA H100 80GB")],
)
def test_peaks_are_those_that_a_run_measures_itself_by(chip, kind):
    assert chip_of(kind) == CHIPS[chip]
    assert CHIPS[chip].peak == peak_of(SimpleNamespace(device_kind=kind))


def test_a_device_without_a_data_sheet_is_no_chip():
    assert chip_of("cpu") is None


def test_virtual_devices_are_those_of_the_process():
    assert len(devices_of(parse_topology("gpu:4", "h200"))) == 4
    with pytest.raises(ValueError, match="expected 64 virtual devices; there are 8"):
        devices_of(parse_topology("cpu:64"))


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_the_way_to_it_is_told():
    with pytest.raises(ImportError, match=r"'jax\[tpu\]' .*--topology=cpu:16 --chip=v5e"):
        devices_of(parse_topology("v5e:4x4"))
