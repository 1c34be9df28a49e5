import pytest

from tests.models.fixtures import fixture_prompts


@pytest.fixture(scope="session")
def prompts(processor):
    return fixture_prompts(processor)
