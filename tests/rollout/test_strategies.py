import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from perl_jax.rollout.strategies import Strategy, draw, keep, penalise

DRAWS = 20_000
PEAKED = np.array([1.3, -0.4, 2.1, 0.2, -1.7, 1.9, 0.7, -0.9], np.float32)

jitted_draw = jax.jit(draw, static_argnames="ranked")
jitted_keep = jax.jit(keep, static_argnames="ranked")


def sample(logits, strategy, *, seed=0, banned=None, seen=None):
    """One draw for each row of logits, each with its own key."""
    keys = jax.random.split(jax.random.key(seed), logits.shape[:-1])
    return jitted_draw(
        logits, keys, strategy.parameters(), ranked=strategy.ranked, banned=banned, seen=seen
    )


def frequencies(logits, strategy, *, seen=None, **settings):
    """How often each token comes up in many draws from the same logits."""
    rows = np.broadcast_to(logits, (DRAWS, len(logits)))
    if seen is not None:
        seen = np.broadcast_to(seen, rows.shape)
    tokens, _ = sample(rows, strategy, seen=seen, **settings)
    return np.bincount(tokens, minlength=len(logits))


def kept_tokens(logits, **settings):
    strategy = Strategy(**settings)
    logits = np.array(logits, np.float32)
    kept = jitted_keep(logits, strategy.parameters(), ranked=strategy.ranked)
    return set(np.flatnonzero(kept).tolist())


def logs(*probabilities):
    return np.log(probabilities)


def reference(logits, strategy, banned=None, seen=None):
    """The definition of the sampled distribution, one token at a time, in float64."""
    scores = {}
    for token, logit in enumerate(np.asarray(logits, np.float64)):
        if banned is not None and banned[token]:
            continue
        if seen is not None and seen[token]:
            penalty = strategy.repetition_penalty
            logit = logit * penalty if logit < 0 else logit / penalty
        scores[token] = logit / strategy.temperature
    best = max(scores.values())
    ranking = sorted(scores, key=lambda token: (-scores[token], token))[: strategy.top_k]
    total = sum(math.exp(scores[token] - best) for token in ranking)
    masses = np.zeros(len(logits))
    so_far = 0.0
    for place, token in enumerate(ranking):
        mass = math.exp(scores[token] - best)
        if place > 0 and so_far >= strategy.top_p * total:
            break
        so_far += mass
        if mass >= strategy.min_p:
            masses[token] = mass
    return masses / masses.sum()


def assert_drawn_from(counts, probabilities):
    """Nothing impossible was drawn, and the rest fits by chi-square, rare tokens pooled."""
    assert not counts[probabilities == 0].any()
    expected = probabilities * counts.sum()
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    possible = expected > 0
    if possible.sum() > 1:
        assert chisquare(observed[possible], expected[possible]).pvalue > 1e-3


COMBINATIONS = [
    Strategy(),
    Strategy(temperature=0.4),
    Strategy(temperature=2.5),
    Strategy(top_k=3),
    Strategy(top_p=0.8),
    Strategy(min_p=0.2),
    Strategy(repetition_penalty=1.7),
    Strategy(repetition_penalty=0.6),
    Strategy(top_k=4, top_p=0.7),
    Strategy(temperature=1.8, top_k=6, min_p=0.3),
    Strategy(temperature=1.6, top_p=0.85, min_p=0.1),
    Strategy(temperature=0.7, top_k=5, top_p=0.9, min_p=0.05, repetition_penalty=1.3),
]


@pytest.mark.parametrize("strategy", COMBINATIONS, ids=str)
def test_tokens_are_drawn_from_the_computed_distribution(strategy):
    banned = np.arange(8) == 5
    seen = np.isin(np.arange(8), [2, 4, 6])
    counts = frequencies(PEAKED, strategy, banned=banned, seen=seen, seed=1)
    assert_drawn_from(counts, reference(PEAKED, strategy, banned, seen))


@pytest.mark.parametrize("strategy", [Strategy(), Strategy(temperature=0.8, top_k=150, top_p=0.9)])
def test_a_vocabulary_of_several_blocks_is_drawn_from_the_computed_distribution(strategy):
    # 300 is two whole blocks and a part of one; the second holds little probability.
    logits = np.random.default_rng(2).normal(size=300).astype(np.float32)
    logits[128:256] -= 3
    counts = frequencies(logits, strategy, seed=3)
    assert_drawn_from(counts, reference(logits, strategy))
    if strategy == Strategy():
        assert counts[[0, 127, 128, 255, 256, 299]].all()


def test_a_penalty_of_another_row_does_not_matter():
    seen = np.zeros((2, 8), bool)
    seen[0, 2] = True
    strategy = Strategy(temperature=0, repetition_penalty=2.0)
    tokens, _ = sample(np.stack([PEAKED, PEAKED]), strategy, seen=seen)
    assert tokens.tolist() == [5, 2]


def test_the_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = np.array([3.0, -3.0, 3.0, -3.0, 0.0], np.float32)
    seen = np.array([True, True, False, False, True])
    penalised = penalise(logits, seen, Strategy(repetition_penalty=1.5).parameters())
    np.testing.assert_allclose(penalised, [2.0, -4.5, 3.0, -3.0, 0.0])


@pytest.mark.parametrize(
    ("logits", "top_k", "expected"),
    [
        ([3, 1, 3, 3], 2, {0, 2}),
        ([3, 1, 3, 3], 3, {0, 2, 3}),
        ([3, 1, 3, 3], 4, {0, 1, 2, 3}),
        ([1, 1, 3, 1], 2, {0, 2}),
        ([1, 1, 1, 1], 1, {0}),
        ([-3, -1, -2], 1, {1}),
        ([-3, -1, -2], 2, {1, 2}),
        ([0.0, -0.0, 0.0], 2, {0, 1}),
        ([-0.0, 0.0, 1.0], 2, {0, 2}),
        ([1, 2, 3], 3, {0, 1, 2}),
        ([1, 2, 3], 1000, {0, 1, 2}),
        ([1, 2, 3], 2**40, {0, 1, 2}),
    ],
)
def test_top_k_keeps_exactly_k_tokens_and_of_equals_the_lower_ids(logits, top_k, expected):
    assert kept_tokens(logits, top_k=top_k) == expected


@pytest.mark.parametrize(
    ("probabilities", "top_p", "expected"),
    [
        ((0.3, 0.1, 0.6), 0.0, {2}),
        ((0.4, 0.4, 0.2), 0.0, {0}),
        ((0.3, 0.1, 0.6), 0.59, {2}),
        ((0.3, 0.1, 0.6), 0.61, {0, 2}),
        ((0.3, 0.1, 0.6), 0.89, {0, 2}),
        ((0.3, 0.1, 0.6), 0.91, {0, 1, 2}),
        ((0.3, 0.1, 0.6), 1.0, {0, 1, 2}),
        # Equal tokens: the sums are exact, so that the set which just reaches p is the answer.
        ((0.25, 0.25, 0.25, 0.25), 0.25, {0}),
        ((0.25, 0.25, 0.25, 0.25), 0.26, {0, 1}),
        ((0.25, 0.25, 0.25, 0.25), 0.5, {0, 1}),
        ((0.25, 0.25, 0.25, 0.25), 0.75, {0, 1, 2}),
        ((0.15, 0.15, 0.55, 0.15), 0.65, {0, 2}),
        ((0.15, 0.15, 0.55, 0.15), 0.75, {0, 1, 2}),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(probabilities, top_p, expected):
    assert kept_tokens(logs(*probabilities), top_p=top_p) == expected


@pytest.mark.parametrize(
    ("probabilities", "min_p", "expected"),
    [
        ((0.4, 0.3, 0.15, 0.15), 0.0, {0, 1, 2, 3}),
        ((0.4, 0.3, 0.15, 0.15), 0.37, {0, 1, 2, 3}),
        ((0.4, 0.3, 0.15, 0.15), 0.38, {0, 1}),
        ((0.4, 0.3, 0.15, 0.15), 0.76, {0}),
        ((0.4, 0.15, 0.4, 0.05), 1.0, {0, 2}),
    ],
)
def test_min_p_keeps_tokens_by_their_share_of_the_best(probabilities, min_p, expected):
    assert kept_tokens(logs(*probabilities), min_p=min_p) == expected


def test_min_p_of_one_tells_the_best_from_the_next_float():
    best = np.float32(0.01)
    assert kept_tokens([np.nextafter(best, np.float32(0)), best, best], min_p=1.0) == {1, 2}


def test_the_far_tail_is_kept_unless_something_cuts_it_off():
    # exp(-80) is lost beside 1 in float32, and exp(-200) is 0.
    tail = [0, -80, -200]
    assert kept_tokens(tail) == {0, 1, 2}
    assert kept_tokens(tail, top_k=1000, top_p=1.0) == {0, 1, 2}
    assert kept_tokens(tail, top_p=0.9999) == {0}


def test_top_p_counts_what_top_k_left_as_everything():
    # Of 0.4 and 0.3 the first is 57 %, of the whole vocabulary it is 40 %.
    assert kept_tokens(logs(0.4, 0.3, 0.2, 0.1), top_k=2, top_p=0.55) == {0}
    assert kept_tokens(logs(0.4, 0.3, 0.2, 0.1), top_p=0.55) == {0, 1}


def test_truncation_counts_probabilities_at_the_temperature():
    # Square roots of 0.64, 0.16, 0.16, 0.04 are 0.8, 0.4, 0.4, 0.2: 44 %, 22 %, 22 % and 11 %.
    logits = logs(0.64, 0.16, 0.16, 0.04)
    assert kept_tokens(logits, top_p=0.6) == {0}
    assert kept_tokens(logits, top_p=0.6, temperature=2.0) == {0, 1}
    assert kept_tokens(logits, top_p=0.7, temperature=2.0) == {0, 1, 2}
    assert kept_tokens(logits, min_p=0.3) == {0}
    assert kept_tokens(logits, min_p=0.3, temperature=2.0) == {0, 1, 2}


def test_impossible_tokens_are_never_kept():
    logits = [-np.inf, 1.0, -np.inf, -50.0]
    for settings in ({}, {"top_k": 4}, {"top_p": 1.0, "top_k": 3}, {"min_p": 0.0, "top_p": 0.999}):
        assert kept_tokens(logits, **settings) <= {1, 3}
    assert kept_tokens(logits, top_k=4) == {1, 3}
    assert kept_tokens(logits, top_p=0.0) == {1}


def test_kept_sets_of_tied_logits_are_those_of_the_definition():
    rng = np.random.default_rng(4)
    logits = rng.integers(-3, 3, (40, 60)).astype(np.float32)
    for _ in range(12):
        strategy = Strategy(
            temperature=rng.uniform(0.5, 2.0),
            top_k=int(rng.integers(1, 70)),
            top_p=rng.uniform(0.05, 1.0),
            min_p=rng.uniform(0.0, 0.3),
        )
        kept = jitted_keep(logits, strategy.parameters(), ranked=True)
        expected = np.stack([reference(row, strategy) > 0 for row in logits])
        np.testing.assert_array_equal(kept, expected, str(strategy))


@pytest.mark.parity
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
@pytest.mark.parametrize(("top_k", "top_p", "min_p"), [
    (40, 1.0, 0.0), (1, 1.0, 0.0), (900, 1.0, 0.0), (None, 0.3, 0.0), (None, 0.95, 0.0),
    (None, 1.0, 0.02), (None, 1.0, 1.0), (60, 0.8, 0.0), (200, 0.97, 0.01), (None, 0.9, 0.1),
])  # fmt: skip
def test_kept_sets_are_those_of_the_warpers_of_transformers(temperature, top_k, top_p, min_p):
    import torch
    from transformers.generation import logits_process as hf

    logits = np.random.default_rng(5).normal(0, 2.5, (32, 700)).astype(np.float32)
    warpers = [hf.TemperatureLogitsWarper(temperature)] if temperature != 1 else []
    warpers += [hf.TopKLogitsWarper(top_k)] if top_k else []
    warpers += [hf.TopPLogitsWarper(top_p), hf.MinPLogitsWarper(min_p)]
    scores = torch.from_numpy(logits)
    for warper in warpers:
        scores = warper(None, scores)
    strategy = Strategy(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    kept = jitted_keep(logits, strategy.parameters(), ranked=strategy.ranked)
    np.testing.assert_array_equal(kept, scores.isfinite().numpy())


@pytest.mark.parity
@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3])
def test_the_repetition_penalty_is_that_of_transformers(penalty):
    import torch
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    rng = np.random.default_rng(6)
    logits = rng.normal(0, 3, (5, 90)).astype(np.float32)
    context = rng.integers(0, 90, (5, 40))
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, context, True, axis=-1)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    expected = processor(torch.from_numpy(context), torch.from_numpy(logits.copy())).numpy()
    penalised = penalise(logits, seen, Strategy(repetition_penalty=penalty).parameters())
    np.testing.assert_allclose(penalised, expected, 1e-6)


@pytest.mark.parametrize("settings", [{}, {"top_k": 5, "top_p": 0.4, "min_p": 0.2}, {"top_p": 0.0}])
def test_greedy_is_argmax_and_of_equals_the_lowest_id(settings):
    logits = np.random.default_rng(7).integers(-4, 4, (50, 300)).astype(np.float32)
    # Differences that vanish beside the largest logit decide nothing; those of the best do.
    logits[0] = 0
    logits[0, [290, 130]] = np.nextafter(np.float32(0.01), np.float32(1))
    logits[0, 20] = 0.01
    tokens, logprobs = sample(logits, Strategy(temperature=0, **settings))
    np.testing.assert_array_equal(tokens, np.argmax(logits, axis=-1))
    assert tokens[0] == 130
    assert np.isfinite(logprobs).all()


@pytest.mark.parametrize("temperature", [1e-45, 1e-37, 1e-30, 1e-29, 1e-20, 1e30])
def test_extreme_temperatures_give_finite_results(temperature):
    logits = np.array([[-3e38, 0.0, 3e38, 1.0]], np.float32)
    tokens, logprobs = sample(logits, Strategy(temperature=temperature))
    assert np.isfinite(logprobs).all()
    if temperature < 1:
        assert (tokens.item(), logprobs.item()) == (2, 0.0)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
def test_logprobs_are_the_policy_before_truncation_and_penalty(temperature):
    rng = np.random.default_rng(8)
    logits = rng.normal(0, 4, (64, 200)).astype(np.float32)
    banned = rng.random(200) < 0.3
    strategy = Strategy(temperature, top_k=9, top_p=0.7, min_p=0.1, repetition_penalty=1.4)
    tokens, logprobs = sample(logits, strategy, banned=banned, seen=rng.random(logits.shape) < 0.5)
    policy = log_softmax(np.where(banned, -np.inf, logits) / (temperature or 1.0))
    expected = np.take_along_axis(policy, np.asarray(tokens)[:, None], axis=-1)[:, 0]
    np.testing.assert_allclose(logprobs, expected, 2e-6, 2e-6)
    assert (tokens.dtype, logprobs.dtype) == (jnp.int32, jnp.float32)


def test_bfloat16_logits_give_the_logprobs_of_their_float32_values():
    logits = jnp.asarray(np.random.default_rng(9).normal(0, 4, (16, 200)), jnp.bfloat16)
    rounded = sample(logits, Strategy())
    exact = sample(logits.astype(jnp.float32), Strategy())
    np.testing.assert_array_equal(rounded[0], exact[0])
    np.testing.assert_array_equal(rounded[1], exact[1])


@pytest.mark.parametrize(
    "strategy", [Strategy(temperature=3.0), Strategy(top_k=7, top_p=0.99), Strategy(temperature=0)]
)
def test_banned_tokens_are_never_drawn(strategy):
    # The banned tokens are the most probable ones.
    banned = np.isin(np.arange(8), [2, 5, 0])
    counts = frequencies(PEAKED, strategy, banned=banned, seed=10)
    assert not counts[banned].any()
    assert counts.sum() == DRAWS


def test_a_row_does_not_depend_on_the_rows_beside_it():
    logits = np.random.default_rng(11).normal(0, 1, (24, 300)).astype(np.float32)
    keys = jax.random.split(jax.random.key(12), 24)
    strategy = Strategy(top_k=120, top_p=0.95)
    run = partial(jitted_draw, parameters=strategy.parameters(), ranked=True)
    tokens, logprobs = run(logits, keys)
    order = np.random.default_rng(13).permutation(24)[:17]
    shuffled_tokens, shuffled_logprobs = run(logits[order], keys[order])
    np.testing.assert_array_equal(shuffled_tokens, tokens[order])
    np.testing.assert_allclose(shuffled_logprobs, logprobs[order], 1e-6)
    assert run(logits[5], keys[5])[0] == tokens[5]
    nested_tokens, _ = run(logits.reshape(4, 6, 300), keys.reshape(4, 6))
    np.testing.assert_array_equal(nested_tokens, tokens.reshape(4, 6))


def test_rows_of_equal_logits_draw_apart_and_equal_keys_draw_alike():
    logits = np.zeros((40, 200), np.float32)
    keys = jax.random.split(jax.random.key(14), 40)
    run = partial(jitted_draw, parameters=Strategy().parameters(), ranked=False)
    assert len(set(run(logits, keys)[0].tolist())) > 25
    assert len(set(run(logits, jnp.broadcast_to(keys[0], 40))[0].tolist())) == 1


def test_other_numbers_do_not_compile_again():
    traces = []

    @jax.jit
    def run(logits, keys, parameters):
        traces.append(None)
        return draw(logits, keys, parameters, ranked=True, seen=logits > 0)

    keys = jax.random.split(jax.random.key(15), 3)
    for strategy in (
        Strategy(top_k=2),
        Strategy(temperature=0, top_p=0.5),
        Strategy(temperature=2, top_k=5, top_p=0.1, min_p=0.3, repetition_penalty=2),
        Strategy(top_k=2**40, min_p=1),
    ):
        run(jnp.ones((3, 8)), keys, strategy.parameters())
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("settings", "ranked"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"min_p": 0.1, "temperature": 0.5, "repetition_penalty": 1.1}, False),
        ({"top_k": 5}, True),
        ({"top_p": 0.9}, True),
        ({"top_p": 0.0}, True),
    ],
)
def test_only_top_k_and_top_p_rank_the_vocabulary(settings, ranked):
    strategy = Strategy(**settings)
    assert strategy.ranked is ranked
    keys = jax.random.split(jax.random.key(16), 2)
    run = partial(draw, ranked=strategy.ranked)
    program = str(jax.make_jaxpr(run)(jnp.ones((2, 300)), keys, strategy.parameters()))
    assert ("while[" in program) is ranked
    assert "sort[" not in program
    assert "callback" not in program


@pytest.mark.parametrize("strategy", [Strategy(), Strategy(top_k=3, top_p=0.9), Strategy(0.0)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_a_distribution_has_the_logprob_nan(strategy, bad):
    logits = np.tile(PEAKED, (4, 1))
    logits[1, 3] = bad
    logits[2, :7] = -np.inf
    logits[3, 7] = bad
    banned = np.arange(8) == 7
    tokens, logprobs = sample(logits, strategy, banned=banned)
    # Row 1 holds the bad number, row 2 only a banned token, row 3 the bad number where banned.
    assert np.isnan(logprobs).tolist() == [False, True, True, False]
    assert ((tokens >= 0) & (tokens < 8)).all()


def test_whether_a_penalty_counts_is_a_fact_of_the_strategy():
    assert not Strategy(temperature=0.5, top_k=3).penalises
    assert Strategy(repetition_penalty=1.1).penalises


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature: expected a number from 0 to 1e+30, got -0.1"),
        ({"temperature": math.nan}, "temperature: expected a number from 0 to 1e+30, got nan"),
        ({"temperature": 1e31}, "temperature: expected a number from 0 to 1e+30, got 1e+31"),
        ({"temperature": math.inf}, "temperature: expected a number from 0 to 1e+30, got inf"),
        ({"top_k": 0}, "top_k: expected at least 1, or None for all, got 0"),
        ({"top_k": -1}, "top_k: expected at least 1, or None for all, got -1"),
        ({"top_p": -0.01}, "top_p: expected a number from 0 to 1, got -0.01"),
        ({"top_p": 1.01}, "top_p: expected a number from 0 to 1, got 1.01"),
        ({"top_p": math.nan}, "top_p: expected a number from 0 to 1, got nan"),
        ({"min_p": -0.01}, "min_p: expected a number from 0 to 1, got -0.01"),
        ({"min_p": 2}, "min_p: expected a number from 0 to 1, got 2"),
        (
            {"repetition_penalty": 0},
            "repetition_penalty: expected a number from 1e-30 to 1e+30, got 0",
        ),
        (
            {"repetition_penalty": -1.5},
            "repetition_penalty: expected a number from 1e-30 to 1e+30, got -1.5",
        ),
        (
            {"repetition_penalty": math.inf},
            "repetition_penalty: expected a number from 1e-30 to 1e+30, got inf",
        ),
        ({"stop": ("###", "")}, "stop[1]: expected a string of at least one character, got ''"),
    ],
)
def test_a_setting_out_of_its_range_is_an_error(settings, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Strategy(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": "0.5"}, "temperature: expected a number from 0 to 1e+30, got '0.5'"),
        ({"temperature": True}, "temperature: expected a number from 0 to 1e+30, got True"),
        ({"top_k": 2.0}, "top_k: expected a whole number or None, got 2.0"),
        ({"top_k": True}, "top_k: expected a whole number or None, got True"),
        ({"top_p": None}, "top_p: expected a number from 0 to 1, got None"),
        ({"stop": "###"}, "stop: expected a tuple of strings, got '###'"),
        ({"stop": ["###"]}, "stop: expected a tuple of strings, got ['###']"),
        ({"stop": (7,)}, "stop: expected a tuple of strings, got (7,)"),
    ],
)
def test_a_setting_of_the_wrong_type_is_an_error(settings, message):
    with pytest.raises(TypeError) as error:
        Strategy(**settings)
    assert str(error.value) == message


def typed_keys(rows, implementation="threefry2x32"):
    return jax.random.split(jax.random.key(0, impl=implementation), rows)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"logits": np.ones((2, 8), int)}, TypeError, "logits: expected a floating dtype"),
        ({"logits": np.ones((2, 0), np.float32)}, ValueError, r"logits: .* got \[2, 0\]"),
        ({"keys": typed_keys(3)}, ValueError, r"keys: expected shape \[2\], got \[3\]"),
        ({"keys": np.ones((2, 2), np.uint32)}, TypeError, "keys: expected typed keys"),
        ({"keys": typed_keys(2, "rbg")}, TypeError, "keys: expected threefry2x32 keys"),
        ({"banned": np.zeros(7, bool)}, ValueError, r"banned: expected shape \[8\], got \[7\]"),
        ({"banned": np.zeros(8)}, TypeError, "banned: expected dtype bool, got float32"),
        ({"seen": np.zeros(8, bool)}, ValueError, r"seen: expected shape \[2, 8\], got \[8\]"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_errors(changes, error, message):
    arguments = {"logits": np.ones((2, 8), np.float32), "keys": typed_keys(2), **changes}
    with pytest.raises(error, match=message):
        draw(parameters=Strategy().parameters(), ranked=False, **arguments)
