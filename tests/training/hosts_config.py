"""The run that is spread over devices and hosts: the one that is killed and resumed, on a mesh."""

from ml_collections import ConfigDict

from tests.training import resume_config


def get_config() -> ConfigDict:
    config = resume_config.get_config()
    config.mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    config.rollout.mesh = {"data": 1, "fsdp": 1, "tensor": 1}
    config.hosts = {"deadline": 120.0}
    config.reward.functions = {}
    config.reward.weights = {"accuracy": 0.9, "format": 0.1}
    return config


def sound(responses):
    return [0.0] * len(responses)


def broken(responses):
    raise RuntimeError("the reward of host 1 is out of order")
