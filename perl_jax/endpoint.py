"""Asks an OpenAI-compatible chat endpoint, each question once: answers are kept on the disk."""

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

from perl_jax.files import write_whole
from perl_jax.settings import Checked, Count, CountOrZero, Expects, Positive

_log = logging.getLogger(__name__)

# Statuses that speak of the moment; all of 5xx do too.
_BUSY = (408, 409, 425, 429)
# Statuses that speak of one question: too long, or refused by a filter.
_REFUSED = (400, 413, 422)
_LONGEST_WAIT = 60.0
_QUOTED = 300

_Seconds = Annotated[Positive, Expects("more than 0")]


class EndpointError(ConnectionError):
    """The endpoint cannot be used; what it has answered so far is kept."""


class Refused(ValueError):
    """The endpoint does not answer this question."""


@dataclass(frozen=True)
class EndpointConfig(Checked):
    """Who is asked, and how.

    Attributes:
        base_url: Ends before ``/chat/completions``, as in ``http://localhost:8000/v1``.
        model: The name that the endpoint knows it by.
        api_key_env: The environment variable with the key; None: no key is sent.
        parameters: Of every request, besides the model and the messages.
        timeout: A request fails after so many seconds without a sign of the endpoint.
        retries: How often a request is sent again that failed or found the endpoint busy.
        retry_seconds: Before the first retry; doubles with each, up to a minute. A busy endpoint
            may ask for another time.
        concurrency: Requests under way at a time.
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
            raise ValueError(f"base_url: expected http:// or https://; got {self.base_url!r}")
        for name in ("model", "messages", "stream"):
            if name in self.parameters:
                raise ValueError(f"parameters: expected no {name!r}; it is set here")


class Endpoint(AbstractContextManager["Endpoint"]):
    """Asks; a context manager. Several threads may ask at once.

    Args:
        config: Who is asked.
        cache: The directory of the answers. A question that was asked before, of the same model
            with the same parameters, is answered from it, whatever the URL.

    Raises:
        ValueError: The environment has no key under the name given.
    """

    def __init__(self, config: EndpointConfig, cache: Path) -> None:
        headers = {}
        if config.api_key_env is not None:
            key = os.environ.get(config.api_key_env)
            if not key:
                raise ValueError(
                    f"api_key_env: expected the environment variable {config.api_key_env} to hold "
                    "the key of the endpoint; it is not set"
                )
            headers["Authorization"] = f"Bearer {key}"
        self.config = config
        self._cache = cache
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        limits = httpx2.Limits(max_connections=config.concurrency)
        self._client = httpx2.Client(headers=headers, timeout=config.timeout, limits=limits)

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def ask(self, prompt: str) -> str:
        """The endpoint's answer to one message.

        Raises:
            Refused: It answers others, but not this one.
            EndpointError: It does not answer in time, fails, or speaks another protocol.
        """
        request = {
            **self.config.parameters,
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
        }
        content = json.dumps(request, sort_keys=True, ensure_ascii=True)
        key = hashlib.sha256(content.encode()).hexdigest()
        path = self._cache / key[:2] / f"{key}.json"
        answer = _read(path)
        if answer is None:
            answer = self._send(request)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"request": request, "answer": answer}))
        return answer

    def _send(self, request: Mapping[str, Any]) -> str:
        """The answer of the endpoint, tried as often as allowed."""
        delay = self.config.retry_seconds
        for attempt in range(self.config.retries + 1):
            wait = delay
            try:
                response = self._client.post(self._url, json=request)
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
    """The text of a chat completion; empty where it holds none."""
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        expected = "expected a chat completion with choices[0].message.content"
        raise EndpointError(f"{url}: {expected}; got {response.text[:_QUOTED]!r}") from error
    # A refusal, or a call of a tool.
    return content if isinstance(content, str) else ""


def _read(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["answer"]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: expected a kept answer of the endpoint; {error}") from error
