"""The chat endpoint, against a server that speaks its protocol, and one that does not."""

import time

import pytest

import perl_jax.endpoint
from perl_jax.endpoint import Endpoint, EndpointConfig, EndpointError, Refused
from perl_jax.preparation.stage import ordered_map
from tests.guards.of_the_outside import endpoint as answering
from tests.guards.of_the_outside import send
from tests.preparation.preparing import chat_server


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_question_is_one_request_in_the_protocol(tmp_path):
    with chat_server(answer=str.upper) as chat:
        config = chat.config(parameters={"temperature": 0.5})
        with Endpoint(config, tmp_path) as endpoint:
            assert endpoint.ask("hello") == "HELLO"
    message = {"role": "user", "content": "hello"}
    body = {"model": "rewriter", "messages": [message], "temperature": 0.5}
    assert chat.requests == [("/v1/chat/completions", body)]
    assert "Authorization" not in chat.headers[0]


def test_the_key_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("REWRITER_KEY", "secret")
    with chat_server() as chat:
        config = chat.config(api_key_env="REWRITER_KEY")
        with Endpoint(config, tmp_path) as endpoint:
            endpoint.ask("hello")
    assert chat.headers[0]["Authorization"] == "Bearer secret"
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.json"))
    monkeypatch.delenv("REWRITER_KEY")
    with pytest.raises(ValueError, match="environment variable REWRITER_KEY"):
        Endpoint(config, tmp_path)


def test_nothing_is_asked_twice_of_one_model_with_the_same_parameters(tmp_path):
    with chat_server() as chat:
        for _ in range(2):
            with Endpoint(chat.config(), tmp_path) as endpoint:
                assert endpoint.ask("hello") == "hello"
        assert chat.prompts == {"hello": 1}
        for changed in ({"parameters": {"temperature": 1.0}}, {"parameters": {}}):
            with Endpoint(chat.config(**changed), tmp_path) as endpoint:
                endpoint.ask("hello")
        assert chat.prompts == {"hello": 3}


@pytest.mark.parametrize("trouble", [429, 500, 503, "slow", "drop"])
def test_a_request_that_fails_for_the_moment_is_sent_again(tmp_path, trouble):
    with chat_server(trouble=[trouble, trouble], seconds=0.5 if trouble == "slow" else 0) as chat:
        if trouble == "slow":
            chat.answer = lambda prompt: setattr(chat, "seconds", 0) or prompt
        # On a busy machine, answers that nothing delays may come late too.
        slow = {"timeout": 0.3, "retries": 100} if trouble == "slow" else {}
        with Endpoint(chat.config(**slow), tmp_path) as endpoint:
            assert endpoint.ask("hello") == "hello"
            assert len(chat.requests) >= 2


def test_retries_end(tmp_path):
    with chat_server(trouble=[500] * 9) as chat:
        message = "no answer in 3 requests; last status 500"
        endpoint = Endpoint(chat.config(retries=2), tmp_path)
        with endpoint, pytest.raises(EndpointError, match=message):
            endpoint.ask("hello")
        assert chat.prompts == {"hello": 3}
        assert list(tmp_path.rglob("*.json")) == []


def test_a_busy_endpoint_is_given_the_time_that_it_asks_for(tmp_path):
    busy = chat_server(trouble=[429], retry_after="0.4")
    with busy as chat, Endpoint(chat.config(), tmp_path) as endpoint:
        start = time.monotonic()
        endpoint.ask("hello")
    assert time.monotonic() - start >= 0.4


def test_a_question_may_be_refused_without_an_end_to_the_others(tmp_path):
    with chat_server(trouble=[400]) as chat, Endpoint(chat.config(), tmp_path) as endpoint:
        with pytest.raises(Refused, match="status 400"):
            endpoint.ask("rude")
        assert endpoint.ask("hello") == "hello"
        assert len(chat.requests) == 2


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (401, "status 401"),
        (404, "status 404"),
        ("<html>", "expected a chat completion"),
        ('{"choices": []}', "expected a chat completion"),
        ("[1]", "expected a chat completion"),
    ],
)
def test_an_endpoint_that_is_none_is_an_error_at_once(tmp_path, trouble, message):
    with chat_server(trouble=[trouble]) as chat, Endpoint(chat.config(), tmp_path) as endpoint:
        with pytest.raises(EndpointError, match=message):
            endpoint.ask("hello")
        assert len(chat.requests) == 1


def test_a_redirect_is_not_followed(tmp_path):
    asked = []

    def elsewhere(handler):
        asked.append(handler.path)
        send(handler, b"", 307, Location="/v1/internal")

    told = pytest.raises(EndpointError, match="status 307")
    with answering(perl_jax.endpoint, tmp_path, elsewhere) as endpoint, told:
        endpoint.ask("hello")
    assert asked == ["/v1/chat/completions"]


def test_nobody_at_the_url_is_an_error_that_names_it(tmp_path):
    with chat_server() as chat:
        config = chat.config(retries=1)
    message = f"{chat.url}/chat/completions: no answer in 2"
    with Endpoint(config, tmp_path) as endpoint, pytest.raises(EndpointError, match=message):
        endpoint.ask("hello")


def test_an_answer_without_text_is_an_empty_one(tmp_path):
    silent = chat_server(answer=lambda prompt: None)
    with silent as chat, Endpoint(chat.config(), tmp_path) as endpoint:
        assert endpoint.ask("hello") == ""


def test_no_more_requests_are_under_way_than_allowed_and_answers_keep_their_order(tmp_path):
    with chat_server(seconds=0.02) as chat, Endpoint(chat.config(concurrency=3), tmp_path) as asks:
        questions = [f"question {n}" for n in range(12)]
        answers = list(ordered_map(asks.ask, questions, 3))
    assert answers == questions
    assert 2 <= chat.most_under_way <= 3


def test_a_damaged_answer_on_the_disk_is_named(tmp_path):
    with chat_server() as chat, Endpoint(chat.config(), tmp_path) as endpoint:
        endpoint.ask("hello")
        (path,) = tmp_path.rglob("*.json")
        path.write_text("{")
        with pytest.raises(ValueError, match=path.name):
            endpoint.ask("hello")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"timeout": 0}, "timeout: expected more than 0"),
        ({"retries": -1}, "retries: expected at least 0"),
        ({"concurrency": 0}, "concurrency: expected at least 1"),
        ({"parameters": {"model": "x"}}, "parameters: expected no 'model'"),
    ],
)
def test_settings_out_of_range_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        EndpointConfig(**{"base_url": "http://x/v1", "model": "m", **changed})
