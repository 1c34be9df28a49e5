"""A bucket that fails as a test asks: a proxy in front of the one of `tests.bucket`."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.bucket import running_bucket

SILENCE, RESET = "silence", "reset"
"""Faults besides statuses (int) and delays in seconds (float)."""
Fault = int | float | str | None


class FaultyBucket(ThreadingHTTPServer):
    """Hands requests on, unless a fault is due.

    Attributes:
        environment: The environment in which the clients find it.
        fault: Asked for every request, with its method and path: the status to answer, seconds to
            wait before it is handed on, `RESET` to end the connection, `SILENCE` for no answer at
            all, or None.
        asked: Method and path of every request so far.
    """

    daemon_threads = True

    def __init__(self, behind: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.behind = urlsplit(behind["STORAGE_EMULATOR_HOST"]).netloc
        url = f"http://127.0.0.1:{self.server_port}"
        places = {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url}
        self.environment = behind | places
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.asked: list[tuple[str, str]] = []
        # Ends the silences.
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up are none of the test's."""


class _Requests(BaseHTTPRequestHandler):
    server: FaultyBucket
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        if fault == SILENCE:
            self.server.over.wait()
            self.close_connection = True
        elif fault == RESET:
            # With this option, closing sends RST.
            option = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self.connection.close()
            self.close_connection = True
        elif isinstance(fault, int):
            self._answer(fault, [], b"a fault of the test")
        else:
            self.server.over.wait(fault or 0.0)
            self._hand_on(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle

    def _hand_on(self, content: bytes) -> None:
        behind = http.client.HTTPConnection(self.server.behind)
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        behind.request(self.command, self.path, content, headers)
        answer = behind.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        behind.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status not in (204, 304) and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def faulty_bucket() -> Iterator[FaultyBucket]:
    """A bucket without faults so far, while the block runs."""
    with running_bucket() as behind, FaultyBucket(behind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
