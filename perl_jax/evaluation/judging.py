"""Scores responses: by the rules of a benchmark, and by a judge where these leave it open."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from tqdm import tqdm

from perl_jax.endpoint import Endpoint, EndpointConfig, EndpointError, Refused
from perl_jax.evaluation.benchmark import Benchmark, Scored
from perl_jax.files import read_object, write_whole
from perl_jax.legible import brief
from perl_jax.types import Example

CACHE = "judge"
_RECORD = "judge.json"
_NOBODY = "http://localhost"

Tell = Callable[[str], None]


class Judge(AbstractContextManager["Judge"]):
    """Asks a language model, and keeps its replies in the folder of the results.

    Once the endpoint cannot be used it is not asked any more; replies that are kept still count.

    Args:
        config: The endpoint.
        directory: The folder of the results.
        tell: Hears, once each, that the endpoint fails, and that it refuses a message.
        kept_only: Whether only the kept replies count from the start.
    """

    def __init__(
        self, config: EndpointConfig, directory: Path, tell: Tell, *, kept_only: bool = False
    ) -> None:
        self._endpoint = Endpoint(config, directory / CACHE)
        self._tell = tell
        self._lock = threading.Lock()
        self._failure = "no endpoint was given" if kept_only else None
        self._refused = 0

    def __exit__(self, *error: object) -> None:
        self._endpoint.__exit__(*error)
        if self._refused:
            self._tell(f"the judge refused {self._refused} rows; they stay unjudged")

    def ask(self, message: str) -> str:
        """Returns the reply to one message; raises as `Endpoint.ask` does."""
        if self._failure is not None:
            kept = self._endpoint.kept(message)
            if kept is None:
                raise EndpointError(self._failure)
            return kept
        try:
            return self._endpoint.ask(message)
        except EndpointError as error:
            with self._lock:
                if self._failure is None:
                    self._failure = str(error)
                    self._tell(f"the judge cannot be asked; rows stay unjudged: {error}")
            raise

    def score(self, benchmark: Benchmark, example: Example, response: str) -> Scored | None:
        """How the judge scores a response; None where it does not say."""
        assert benchmark.judge is not None
        try:
            return benchmark.judge(example, response, self.ask)
        except EndpointError:
            return None
        except Refused:
            with self._lock:
                self._refused += 1
            return None

    @property
    def concurrency(self) -> int:
        """The number of requests at a time."""
        return self._endpoint.config.concurrency


def open_judge(config: EndpointConfig | None, directory: Path, tell: Tell) -> Judge | None:
    """The judge of an evaluation; without a configuration, the kept replies of the last one.

    Returns:
        None if there is no judge and there was none.
    """
    record = directory / _RECORD
    if config is not None:
        judge = Judge(config, directory, tell)
        write_whole(record, json.dumps({"model": config.model}) + "\n")
        return judge
    if not record.exists():
        return None
    model = read_object(record).get("model")
    if not isinstance(model, str):
        raise ValueError(f"{record}: expected the model of a judge; got {brief(model)}")
    return Judge(EndpointConfig(_NOBODY, model), directory, tell, kept_only=True)


def by_rules(benchmark: Benchmark, example: Example, response: str | None) -> Scored:
    """How the rules score a response; none at all is wrong."""
    return Scored(None, 0.0) if response is None else benchmark.score(example, response)


def score_all(
    benchmark: Benchmark, responses: Sequence[tuple[Example, str | None]], judge: Judge | None
) -> list[Scored]:
    """Scores responses to examples, by the rules first."""
    scored = [by_rules(benchmark, example, response) for example, response in responses]
    left = [n for n, one in enumerate(scored) if one.score is None]
    if judge is None or benchmark.judge is None or not left:
        return scored

    def ask(number: int) -> Scored | None:
        example, response = responses[number]
        assert response is not None
        return judge.score(benchmark, example, response)

    with (
        ThreadPoolExecutor(judge.concurrency) as pool,
        tqdm(total=len(left), desc=f"{benchmark.name}: judging", unit="response") as bar,
    ):
        for number, said in zip(left, pool.map(ask, left), strict=True):
            if said is not None and said.score is not None:
                scored[number] = said
            bar.update()
    return scored
