"""A cloud of VMs with two hosts, and its bucket with rows, for the stories of a file."""

import pytest

from tests.bucket import running_bucket
from tests.launch.cloud.cloud import cloud_in
from tests.launch.cloud.story import bucket_with_rows


@pytest.fixture(scope="module")
def variables():
    with running_bucket() as variables:
        yield variables


@pytest.fixture(scope="module")
def bucket(variables, tmp_path_factory):
    with bucket_with_rows(variables, tmp_path_factory.mktemp("rows")) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def cloud(variables, bucket, tmp_path_factory):
    with cloud_in(tmp_path_factory.mktemp("cloud"), variables) as cloud:
        yield cloud
