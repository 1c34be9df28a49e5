"""A bucket of Google Cloud Storage on this machine, with what TensorStore asks of one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Bucket(ThreadingHTTPServer):
    """Objects by name, each with its generation; 0 where there is none.

    Attributes:
        objects: The objects.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.generations = 0
        self.mutex = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    """The JSON API: media downloads, simple uploads, deletions, and conditions on generations."""

    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name, query = self._asked()
        with self.server.mutex:
            generation, content = self.server.objects.get(name, (0, b""))
        if not generation:
            self._answer(404)
        elif query.get("ifGenerationNotMatch") == str(generation):
            self._answer(304)
        else:
            self._answer(200, content, generation)

    def do_POST(self) -> None:
        _, query = self._asked()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.mutex:
            if not self._is_wanted(query["name"], query):
                self._answer(412)
                return
            self.server.generations += 1
            self.server.objects[query["name"]] = self.server.generations, content
            text = f'{{"name": "{query["name"]}", "generation": "{self.server.generations}"}}'
        self._answer(200, text.encode())

    def do_DELETE(self) -> None:
        name, query = self._asked()
        with self.server.mutex:
            wanted = self._is_wanted(name, query)
            there = self.server.objects.pop(name, None) if wanted else None
        self._answer(412 if not wanted else 204 if there else 404)

    def log_message(self, *arguments: object) -> None:
        pass

    def _asked(self) -> tuple[str, dict[str, str]]:
        """The name of the object in the path, and the query."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return unquote(parts.path.rpartition("/o/")[2]), query

    def _is_wanted(self, name: str, query: dict[str, str]) -> bool:
        generation, _ = self.server.objects.get(name, (0, b""))
        return query.get("ifGenerationMatch", str(generation)) == str(generation)

    def _answer(self, status: int, content: bytes = b"", generation: int | None = None) -> None:
        self.send_response(status)
        if generation is not None:
            self.send_header("x-goog-generation", str(generation))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def bucket() -> Iterator[Bucket]:
    """A bucket that answers while the block runs."""
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
