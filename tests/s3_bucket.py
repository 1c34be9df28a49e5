"""A bucket of S3 in a process of its own, for tests of what lies on ``s3://``: moto's server."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

NAME = "bkt"


@contextmanager
def running_s3_bucket() -> Iterator[dict[str, str]]:
    """Starts a server with one empty bucket, ``s3://bkt``.

    Yields:
        The environment in which s3fs, tensorstore and Orbax find it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--host=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _make_bucket(address, process)
            yield {
                "AWS_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            process.kill()


def _make_bucket(address: str, process: subprocess.Popen) -> None:
    while process.poll() is None:
        request = urllib.request.Request(f"{address}/{NAME}", method="PUT")
        try:
            urllib.request.urlopen(request).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the bucket's server ended before it answered")
