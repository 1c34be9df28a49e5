"""For tests of the preparation: rows made by hand as a source, and a chat endpoint that obeys."""

import hashlib
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from perl_jax.data import BadRow
from perl_jax.endpoint import EndpointConfig
from perl_jax.files import whole_directory
from perl_jax.preparation.shard_writer import ShardWriter
from perl_jax.preparation.stage import Context, DroppedRow, KeptRow
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png


@dataclass
class Rows:
    """A source of the examples given; a `BadRow` among them is raised."""

    rows: list

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if isinstance(self.rows[index], BadRow):
            raise self.rows[index]
        return self.rows[index]

    def fingerprint(self):
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()


def example(index=0, **changed):
    row = Example(
        id=f"row-{index}",
        source="digits",
        question="<image><image> Which digit is larger?\nA. the first\nB. the second",
        images=(digit_png(2 * index), digit_png(2 * index + 1)),
        answer="A",
    )
    return replace(row, **changed)


def bad_row(name="row-bad"):
    return BadRow("missing_image", name, "it is not there")


def write_examples(rows, directory, **limits):
    """Writes examples as a stage does: the directory appears when it is whole."""
    with (
        whole_directory(directory, replace=True) as unfinished,
        ShardWriter(unfinished, **limits) as writer,
    ):
        for row in rows:
            writer.add(row)


def run_stage(stage, rows, config, tmp_path, *, seed=0, endpoint=None):
    return list(stage(Rows(rows), config, Context(seed, tmp_path / "cache", endpoint)))


def told(outcomes):
    """Of every outcome its word: of a kept row the note, of others the reason."""
    return [one.note if isinstance(one, KeptRow) else one.reason for one in outcomes]


def kept(outcomes):
    return [one.example for one in outcomes if isinstance(one, KeptRow)]


def left_out(outcomes):
    return {one.id: (one.reason, one.detail) for one in outcomes if isinstance(one, DroppedRow)}


@dataclass
class ChatServer:
    """What a server was asked, and what it is to answer.

    Attributes:
        answer: Given the prompt, what the model says: the text of the answer, or None for one
            without text.
        trouble: What happens to the first requests: a status; ``slow`` or ``drop``; or text that is
            sent as it is.
        seconds: How long ``slow`` is, and how long every answer takes.
    """

    answer: object = lambda prompt: prompt
    trouble: list = field(default_factory=list)
    retry_after: str | None = None
    seconds: float = 0.0
    url: str = ""
    prompts: Counter = field(default_factory=Counter)
    requests: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: object = field(default_factory=threading.Lock)

    def config(self, **changed):
        settings = {"timeout": 120.0, "retries": 3, "retry_seconds": 0.01, "concurrency": 2}
        return EndpointConfig(base_url=self.url, model="rewriter", **{**settings, **changed})


@contextmanager
def chat_server(**settings):
    chat = ChatServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["messages"][0]["content"]
            with chat.lock:
                chat.requests.append((self.path, body))
                chat.headers.append(dict(self.headers))
                chat.prompts[prompt] += 1
                chat.under_way += 1
                chat.most_under_way = max(chat.most_under_way, chat.under_way)
                trouble = chat.trouble.pop(0) if chat.trouble else None
            try:
                self.respond(prompt, trouble)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked has given up
            finally:
                with chat.lock:
                    chat.under_way -= 1

        def respond(self, prompt, trouble):
            if trouble == "drop":
                return
            if trouble == "slow" or trouble is None:
                time.sleep(chat.seconds)
            status = trouble if isinstance(trouble, int) else 200
            message = {"role": "assistant", "content": chat.answer(prompt)}
            text = json.dumps({"choices": [{"index": 0, "message": message}]})
            if isinstance(trouble, str) and trouble != "slow":
                text = trouble
            self.send_response(status)
            if chat.retry_after is not None and status != 200:
                self.send_header("Retry-After", chat.retry_after)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
