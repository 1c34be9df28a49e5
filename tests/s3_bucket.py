"""A bucket of S3 in a process of its own, for tests of what lies on ``s3://``: moto's server."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import serving

NAME = "bkt"


@contextmanager
def running_s3_bucket() -> Iterator[dict[str, str]]:
    """Starts a server with one empty bucket, ``s3://bkt``.

    Yields:
        The environment in which s3fs, tensorstore and Orbax find it.
    """
    with serving("moto.server", "--host=127.0.0.1", "--port=PORT") as address:
        make = urllib.request.Request(f"{address}/{NAME}", method="PUT")
        urllib.request.urlopen(make).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
