"""Where a response ends, token by token, by hand."""

import numpy as np
import pytest

from perl_jax.rollout.stopping import Ending, Response

# Token 0 ends a response; 1 is "a", 2 is "b" and so on.
ALPHABET = " abcdefghijklmnopqrstuvwxyz"


def ending(*, stop_tokens=(0,), stop=(), limit=10):
    return Ending(stop_tokens, stop, limit, lambda tokens: "".join(ALPHABET[t] for t in tokens))


def extend(response, text, ending):
    """Extends by letters; a space is the stop token. The logprob of a token is minus its place."""
    tokens = np.array([ALPHABET.index(letter) for letter in text], np.int32)
    first = len(response.tokens) + 1
    logprobs = -np.arange(first, first + len(tokens), dtype=np.float32)
    return response.extend(tokens, logprobs, ending)


def state(response):
    text = "".join(ALPHABET[t] for t in response.tokens)
    assert response.logprobs == [-place for place in range(1, len(text) + 1)]
    return text, response.done, response.stopped


def test_a_response_goes_on_until_something_ends_it():
    response = Response()
    assert extend(response, "abc", ending()) == 3
    assert state(response) == ("abc", False, False)
    assert extend(response, "de", ending()) == 2
    assert state(response) == ("abcde", False, False)


def test_a_stop_token_is_the_last_that_is_taken():
    response = Response()
    assert extend(response, "ab cd ", ending()) == 3
    assert state(response) == ("ab ", True, True)


def test_any_of_several_stop_tokens_ends_a_response():
    response = Response()
    assert extend(response, "abzc ", ending(stop_tokens=(0, 26))) == 3
    assert state(response) == ("abz", True, True)


def test_a_response_that_reaches_the_limit_is_done_but_did_not_stop():
    response = Response()
    assert extend(response, "abcd", ending(limit=6)) == 4
    assert extend(response, "efgh", ending(limit=6)) == 2
    assert state(response) == ("abcdef", True, False)


def test_a_stop_token_at_the_limit_counts_as_stopped():
    response = Response()
    assert extend(response, "abcde fg", ending(limit=6)) == 6
    assert state(response) == ("abcde ", True, True)


def test_a_stop_token_beyond_the_limit_does_not_count():
    response = Response()
    assert extend(response, "abcdef g", ending(limit=6)) == 6
    assert state(response) == ("abcdef", True, False)


def test_a_stop_string_ends_a_response_at_the_token_that_completes_it():
    response = Response()
    assert extend(response, "abcdef", ending(stop=("cd",))) == 4
    assert state(response) == ("abcd", True, True)


def test_a_stop_string_may_begin_in_an_earlier_chunk():
    response = Response()
    assert extend(response, "abc", ending(stop=("bcde",))) == 3
    assert state(response) == ("abc", False, False)
    assert extend(response, "defg", ending(stop=("bcde",))) == 2
    assert state(response) == ("abcde", True, True)


def test_a_stop_string_may_be_complete_at_the_first_token_of_a_chunk():
    response = Response()
    extend(response, "ab", ending(stop=("abc",)))
    assert extend(response, "cd", ending(stop=("abc",))) == 1
    assert state(response) == ("abc", True, True)


def test_the_stop_string_that_is_complete_first_counts():
    response = Response()
    assert extend(response, "abcdef", ending(stop=("bcde", "zz", "cd"))) == 4
    assert state(response) == ("abcd", True, True)


def test_a_stop_string_before_a_stop_token_ends_the_response_first():
    response = Response()
    assert extend(response, "abcd ef", ending(stop=("bc",))) == 3
    assert state(response) == ("abc", True, True)


def test_a_stop_string_after_a_stop_token_is_never_reached():
    response = Response()
    assert extend(response, "ab cd", ending(stop=("cd",))) == 3
    assert state(response) == ("ab ", True, True)


def test_a_stop_string_beyond_the_limit_does_not_count():
    response = Response()
    assert extend(response, "abcdef", ending(stop=("de",), limit=4)) == 4
    assert state(response) == ("abcd", True, False)


def test_a_stop_string_at_the_limit_counts_as_stopped():
    response = Response()
    assert extend(response, "abcdef", ending(stop=("cd",), limit=4)) == 4
    assert state(response) == ("abcd", True, True)


def test_a_token_may_hold_a_stop_string_and_more():
    """Token n is n spelled twice: the text ends beyond the stop string, the tokens do not."""
    doubled = Ending((0,), ("23",), 10, lambda tokens: "".join(str(t) * 2 for t in tokens))
    response = Response()
    assert response.extend(np.array([1, 2, 3, 4]), np.zeros(4, np.float32), doubled) == 3
    assert response.tokens == [1, 2, 3]


def test_without_stop_strings_nothing_is_decoded():
    def decode(tokens):
        pytest.fail("decoding every chunk takes time")

    response = Response()
    assert response.extend(np.array([1, 2]), np.zeros(2), Ending((0,), (), 10, decode)) == 2


def test_logprobs_that_are_not_numbers_pass_through():
    response = Response()
    logprobs = np.array([-0.5, np.nan, -0.25], np.float32)
    assert response.extend(np.array([1, 2, 3]), logprobs, ending()) == 3
    np.testing.assert_array_equal(response.logprobs, [-0.5, np.nan, -0.25])


def test_tokens_are_plain_integers():
    """What a response holds goes into JSON."""
    response = Response()
    response.extend(np.array([1, 2], np.int32), np.zeros(2, np.float32), ending())
    assert [type(token) for token in response.tokens] == [int, int]
    assert [type(logprob) for logprob in response.logprobs] == [float, float]
