"""The metadata server of each host, which knows the host's number and the addresses of all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ATTRIBUTES = "/computeMetadata/v1/instance/attributes/"
ADDRESS = "127.0.0.1"


def attributes(number: int, count: int) -> dict[str, str]:
    """What JAX and launch/worker.sh ask for."""
    endpoints = ",".join(f"unknown:unknown:{ADDRESS}" for _ in range(count))
    return {
        "agent-worker-number": str(number),
        "worker-network-endpoints": endpoints,
        "tpu-env": f"ACCELERATOR_TYPE: 'v5litepod-16'\nWORKER_ID: '{number}'\n",
    }


@contextmanager
def metadata_servers(count: int) -> Iterator[list[str]]:
    """Serves each of so many hosts; yields the addresses, each ``ADDRESS:PORT``."""
    servers = [_server(attributes(number, count)) for number in range(count)]
    try:
        yield [f"{ADDRESS}:{server.server_port}" for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _server(known: dict[str, str]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = known.get(self.path.removeprefix(_ATTRIBUTES))
            asked = self.headers.get("Metadata-Flavor") == "Google"
            self.send_response(403 if not asked else 404 if answer is None else 200)
            self.end_headers()
            if asked and answer is not None:
                self.wfile.write(answer.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((ADDRESS, 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server
