"""The battered run on two hosts."""

from ml_collections import ConfigDict

from tests.soak import config as alone


def get_config() -> ConfigDict:
    config = alone.get_config()
    config.mesh = {"data": 2, "fsdp": 1, "tensor": 1}
    config.rollout.mesh = {"data": 2, "fsdp": 1, "tensor": 1}
    config.hosts = {"deadline": 600.0}
    return config
