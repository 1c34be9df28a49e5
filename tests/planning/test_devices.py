"""Devices that are not there, and what is missing where they cannot be had."""

import importlib.util

import pytest

from perl_jax.planning.chips import parse_topology
from perl_jax.planning.devices import devices_of


def test_virtual_devices_are_those_of_the_process():
    assert len(devices_of(parse_topology("gpu:4", "h200"))) == 4
    with pytest.raises(ValueError, match="expected 64 virtual devices; there are 8"):
        devices_of(parse_topology("cpu:64"))


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_the_way_to_it_is_told():
    with pytest.raises(ImportError, match=r"'jax\[tpu\]' .*--topology=cpu:16 --chip=v5e"):
        devices_of(parse_topology("v5e:4x4"))
