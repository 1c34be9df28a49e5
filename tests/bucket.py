"""A bucket of Google Cloud Storage in a process of its own, for tests of what lies on ``gs://``.

    python -m tests.bucket PORT

The server is gcp-storage-emulator. It lacks the two things that make concurrent writers safe, so
they are added here: the generation of an object in the header of its content, and conditions on
generations (https://cloud.google.com/storage/docs/request-preconditions). It also loses the last
byte of what gcsfs uploads if that is a carriage return; it is kept here.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from tests.servers import serving

NAME = "bkt"


@contextmanager
def running_bucket() -> Iterator[dict[str, str]]:
    """Starts a server with one empty bucket, ``gs://bkt``.

    Yields:
        The environment in which gcsfs, tensorstore and Orbax find it.
    """
    with serving("tests.bucket", "PORT") as address:
        yield {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "x",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }


def serve(port: int) -> None:
    """Serves until the process is killed."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound

    def generation(request, storage, name) -> int:
        """The object's generation; 0 if it does not exist."""
        try:
            return int(storage.get_file_obj(request.params["bucket_name"], name)["generation"])
        except NotFound:
            return 0

    def with_generations(handler):
        def handle(request, response, storage):
            name = request.params.get("object_id") or request.query.get("name", [""])[0]
            is_upload = not name and request.query.get("uploadType") == ["multipart"]
            name = request.data["meta"]["name"] if is_upload else name
            now = generation(request, storage, name) if name else 0
            wanted, unwanted = (
                request.query.get(condition, [None])[0]
                for condition in ("ifGenerationMatch", "ifGenerationNotMatch")
            )
            if wanted is not None and int(wanted) != now:
                response.status = HTTPStatus.PRECONDITION_FAILED
            elif unwanted is not None and int(unwanted) == now:
                reads = request.method == "GET"
                response.status = (
                    HTTPStatus.NOT_MODIFIED if reads else HTTPStatus.PRECONDITION_FAILED
                )
            else:
                handler(request, response, storage)
                if request.method == "GET" and now:
                    response["x-goog-generation"] = str(now)

        return handle

    decode = server._decode_raw_data

    def with_ends_of_lines(data, handler):
        """gcsfs ends the lines between parts by LF, and the server's parser would read CR LF."""
        data = decode(data, handler)
        kind = handler.headers.get("Content-Type") or ""
        if kind.startswith("multipart/related"):
            delimiter = b"--" + kind.partition("boundary=")[2].strip('"').encode()
            if data.startswith(delimiter + b"\n"):
                return data.replace(b"\n" + delimiter, b"\r\n" + delimiter)
        return data

    server._decode_raw_data = with_ends_of_lines
    # The server handles one request after the other, so that a condition and a write are one.
    server.HANDLERS = tuple(
        (
            pattern,
            {m: with_generations(h) for m, h in methods.items()} if "/o" in pattern else methods,
        )
        for pattern, methods in server.HANDLERS
    )
    server.create_server("127.0.0.1", port, in_memory=True, default_bucket=NAME).run()


if __name__ == "__main__":
    os.chdir("/")
    serve(int(sys.argv[1]))
