import pytest

from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import fixture_prompts


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model(checkpoint):
    return load_model(checkpoint, dtype="float32")


@pytest.fixture(scope="session")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture(scope="session")
def prompts(processor):
    return fixture_prompts(processor)
