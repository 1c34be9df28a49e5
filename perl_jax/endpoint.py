"""A client of an OpenAI-compatible chat endpoint that keeps every answer on disk."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2

from perl_jax.files import parse_json, write_whole
from perl_jax.legible import brief
from perl_jax.settings import Checked, Count, CountOrZero, Expects, Positive

_log = logging.getLogger(__name__)

_BUSY = (408, 409, 425, 429)  # and all of 5xx: a later try may succeed
_REFUSED = (400, 413, 422)  # this question is too long, or a filter refused it
_LONGEST_WAIT = 60.0
_READ = ("Retry-After", "Content-Type")
_QUOTED = 300
# Of a chat completion, the text of a response; a server that sends more is none, or means harm.
MAX_REPLY_BYTES = 2**24
# A reply may come in pieces, each within the timeout; all of them within so many timeouts.
MOST_TIMEOUTS = 10

_Seconds = Annotated[Positive, Expects("more than 0")]


class EndpointError(ConnectionError):
    """The endpoint cannot be used; what it has answered so far is kept."""


class Refused(ValueError):
    """The endpoint does not answer this question."""


@dataclass(frozen=True)
class EndpointConfig(Checked):
    """The chat endpoint and how to call it.

    Attributes:
        base_url: The URL before ``/chat/completions``, such as ``http://localhost:8000/v1``.
        model: The endpoint's name for the model.
        api_key_env: The environment variable with the API key; None: no key is sent.
        parameters: Request parameters other than the model and the messages.
        timeout: Seconds without any data after which a request fails; a whole reply may take ten
            times as long.
        retries: The most retries of a request that failed or found the endpoint busy.
        retry_seconds: Wait before the first retry; doubles up to 60 s. ``Retry-After`` overrides.
        concurrency: The number of requests at a time.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"temperature": 0.0, "max_tokens": 1024}
    )
    timeout: _Seconds = 120.0
    retries: CountOrZero = 5
    retry_seconds: _Seconds = 1.0
    concurrency: Count = 8

    def _check_together(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url: expected http:// or https://; got {brief(self.base_url)}")
        # It is recorded, and stands in messages.
        if "@" in self.base_url.partition("://")[2].partition("/")[0]:
            raise ValueError("base_url: expected no password in it; see api_key_env for a key")
        for name in ("model", "messages", "stream"):
            if name in self.parameters:
                raise ValueError(f"parameters: expected no {name!r}; it is set here")


class Endpoint(AbstractContextManager["Endpoint"]):
    """A thread-safe client of the endpoint; a context manager.

    Args:
        config: The endpoint.
        cache: The directory of kept answers, by model, parameters and question (not by URL).

    Raises:
        ValueError: ``config.api_key_env`` is not set in the environment.
    """

    def __init__(self, config: EndpointConfig, cache: Path) -> None:
        headers = {}
        if config.api_key_env is not None:
            key = os.environ.get(config.api_key_env)
            if not key:
                name = f"the environment variable {config.api_key_env}"
                raise ValueError(f"api_key_env: expected the key in {name}; it is not set")
            headers["Authorization"] = f"Bearer {key}"
        self.config = config
        self._cache = cache
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        limits = httpx2.Limits(max_connections=config.concurrency)
        self._client = httpx2.Client(headers=headers, timeout=config.timeout, limits=limits)

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def ask(self, prompt: str) -> str:
        """Returns the answer to one user message, from the cache if it is there.

        Raises:
            Refused: The endpoint refuses this message.
            EndpointError: It does not answer in time, fails, or speaks another protocol.
        """
        request = self._request(prompt)
        path = self._path(request)
        answer = _read(path)
        if answer is None:
            answer = self._send(request)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"request": request, "answer": answer}))
        return answer

    def kept(self, prompt: str) -> str | None:
        """The answer to one user message if the cache has it; nothing is sent."""
        return _read(self._path(self._request(prompt)))

    def _request(self, prompt: str) -> dict[str, Any]:
        return {
            **self.config.parameters,
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
        }

    def _path(self, request: Mapping[str, Any]) -> Path:
        content = json.dumps(request, sort_keys=True, ensure_ascii=True)
        key = hashlib.sha256(content.encode()).hexdigest()
        return self._cache / key[:2] / f"{key}.json"

    def _post(self, request: Mapping[str, Any]) -> httpx2.Response:
        """Sends a request once; EndpointError if the reply is endless."""
        limit = MOST_TIMEOUTS * self.config.timeout
        content, expires = bytearray(), time.monotonic() + limit
        with self._client.stream("POST", self._url, json=request) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MAX_REPLY_BYTES:
                    raise EndpointError(
                        f"{self._url}: more than {MAX_REPLY_BYTES} bytes of a reply"
                    )
                if time.monotonic() > expires:
                    raise EndpointError(f"{self._url}: no whole reply within {limit:g} s")
        # Without the length and the encoding of what was sent.
        kept = {name: response.headers[name] for name in _READ if name in response.headers}
        return httpx2.Response(response.status_code, headers=kept, content=bytes(content))

    def _send(self, request: Mapping[str, Any]) -> str:
        """Sends a request, with retries."""
        delay = self.config.retry_seconds
        for attempt in range(self.config.retries + 1):
            wait = delay
            try:
                response = self._post(request)
            except httpx2.HTTPError as error:
                failure = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == httpx2.codes.OK:
                    return _answer(response, self._url)
                failure = f"status {response.status_code}: {response.text[:_QUOTED]}"
                if response.status_code in _REFUSED:
                    raise Refused(failure)
                if response.status_code not in _BUSY and response.status_code < 500:
                    raise EndpointError(f"{self._url}: {failure}")
                with suppress(KeyError, ValueError):  # it asks for no time, or for a date
                    wait = max(0.0, float(response.headers["Retry-After"]))
            if attempt < self.config.retries:
                _log.info("%s: %s; asked again", self._url, failure)
                time.sleep(min(_LONGEST_WAIT, wait))
                delay *= 2
        raise EndpointError(f"{self._url}: no answer in {attempt + 1} requests; last {failure}")


def _answer(response: httpx2.Response, url: str) -> str:
    """The text of a chat completion; empty for a refusal or a tool call."""
    try:
        content = parse_json(response.content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        expected = "expected a chat completion with choices[0].message.content"
        raise EndpointError(f"{url}: {expected}; got {brief(response.text[:_QUOTED])}") from error
    return content if isinstance(content, str) else ""


def _read(path: Path) -> str | None:
    try:
        answer = parse_json(path.read_text(encoding="utf-8"))["answer"]
        if not isinstance(answer, str):
            raise TypeError(f"its answer is {answer!r:.80}")
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: expected a kept answer of the endpoint; {error}") from error
    return answer
