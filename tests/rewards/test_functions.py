import numpy as np
import pytest

from perl_jax.rewards import load_reward
from perl_jax.rewards.functions import COLUMNS

MODULE = """
import math
def longest(responses, answers, metadata):
    return [len(r) / len(a) + m.get("bonus", 0) for r, a, m in zip(responses, answers, metadata)]
def nothing(responses, answers, metadata): return None
def short(responses, answers, metadata): return [1.0]
def none_inside(responses, answers, metadata): return [1.0, None]
def nan_inside(responses, answers, metadata): return [1.0, math.nan]
def words(responses, answers, metadata): return ["1.0", "2.0"]
def raises(responses, answers, metadata): raise KeyError("column")
def huge(responses, answers, metadata): return [1.0, 1e300]
def whole(responses, answers, metadata): return [1, 10**400]
def unordered(responses, answers, metadata): return {1.0, 2.0}
def text(responses, answers, metadata): return "12"
constant = 3

def echo(*given, **named): return [given, named]
def today(texts, truths, rows): return echo(texts, truths, rows)
def more(texts, truths, rows, lengths): return echo(texts, truths, rows, lengths=lengths)
def some(responses, groups, scale=2.0): return echo(responses=responses, groups=groups, scale=scale)
def only(*, ids, orders=None): return echo(ids=ids, orders=orders)
def all_of_them(responses, **columns): return echo(responses=responses, **columns)
def by_place(a, b, c, /, *, questions): return echo(a, b, c, questions=questions)
def any_number(*columns): return echo(*columns)
def misspelt(responses, lenghts): pass
def other_places(responses, lengths, truths): pass
def four(texts, truths, rows, more): pass
def nothing_at_all(): pass
class Scorer:
    def __call__(self, responses, metadata): return echo(responses=responses, metadata=metadata)
scorer = Scorer()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(MODULE)
    (tmp_path / "broken_rewards.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("module")
class TestRewardFunctions:
    def test_a_function_is_loaded_by_its_import_path(self):
        reward = load_reward("my_rewards:longest")
        values = reward(["abcd", "ab"], ["ab", "ab"], [{"bonus": 1}, {}])
        np.testing.assert_array_equal(values, np.array([3.0, 1.0], np.float32))
        np.testing.assert_array_equal(reward(["ab"], ["a"]), [2.0])

    @pytest.mark.reliability("F24")
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nothing", "my_rewards:nothing: expected 2 numbers; got NoneType"),
            ("short", "my_rewards:short: expected 2 numbers; got 1"),
            ("none_inside", "my_rewards:none_inside, row 1.*None"),
            ("nan_inside", "my_rewards:nan_inside, row 1.*nan"),
            ("words", "my_rewards:words, row 0"),
            ("huge", r"my_rewards:huge, row 1.*1e\+300"),
            ("whole", "my_rewards:whole, row 1.*100000"),
            ("unordered", "my_rewards:unordered: expected 2 numbers; got set"),
            ("text", "my_rewards:text: expected 2 numbers; got str"),
        ],
    )
    def test_what_is_no_reward_names_the_function_and_the_row(self, name, message):
        with pytest.raises(ValueError, match=message):
            load_reward(f"my_rewards:{name}")(["a", "b"], ["1", "2"])

    def test_an_exception_names_the_function_and_keeps_its_cause(self):
        with pytest.raises(RuntimeError, match="my_rewards:raises raised KeyError") as caught:
            load_reward("my_rewards:raises")(["a"], ["1"])
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_broken_import_is_an_error_that_names_the_cause(self):
        with pytest.raises(ImportError, match=r"broken_rewards.*no_such_package_at_all"):
            load_reward("broken_rewards:reward")

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("my_rewards.longest", "expected 'package.module:function'"),
            ("my_rewards:", "expected 'package.module:function'"),
            ("my_rewards:longst", "did you mean 'longest'"),
            ("my_rewards:constant", "no function 'constant'"),
        ],
    )
    def test_a_path_that_leads_nowhere_is_an_error(self, path, message):
        with pytest.raises(ValueError, match=message):
            load_reward(path)

    @pytest.mark.parametrize(
        ("name", "positional", "named"),
        [
            ("today", ["r", "a", "m"], {}),
            ("more", ["r", "a", "m"], {"lengths": "l"}),
            ("some", [], {"responses": "r", "groups": "g", "scale": 2.0}),
            ("only", [], {"ids": "i", "orders": "o"}),
            ("by_place", ["r", "a", "m"], {"questions": "q"}),
            ("any_number", ["r", "a", "m"], {}),
            ("scorer", [], {"responses": "r", "metadata": "m"}),
            (
                "all_of_them",
                [],
                {"responses": "r", "answers": "a", "metadata": "m", "questions": "q", "ids": "i",
                 "orders": "o", "lengths": "l", "groups": "g"},
            ),
        ],
    )  # fmt: skip
    def test_a_function_is_given_what_its_signature_asks_for(self, name, positional, named):
        reward = load_reward(f"my_rewards:{name}")
        columns = dict(zip(COLUMNS, "ramqiolg", strict=True))
        by_position, by_name = reward.arguments
        given, by_name = reward.function(
            *(columns[name] for name in by_position), **{name: columns[name] for name in by_name}
        )
        assert (list(given), by_name) == (positional, named)
        assert set(reward.columns) == set(columns) & (set(COLUMNS[: len(given)]) | set(by_name))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("misspelt", r"expected parameters of responses, .*, groups; got 'lenghts'.*'lengths'"),
            ("other_places", "got 'truths'"),
            ("four", "got 'more'"),
            ("nothing_at_all", "got none"),
        ],
    )
    def test_parameters_that_cannot_be_given_are_an_error_that_names_the_choices(
        self, name, message
    ):
        with pytest.raises(ValueError, match=f"my_rewards:{name}: .*{message}"):
            load_reward(f"my_rewards:{name}")

    def test_outside_of_a_run_columns_are_given_by_name(self):
        reward = load_reward("my_rewards:some")
        with pytest.raises(ValueError, match="my_rewards:some: it takes groups; got none"):
            reward(["a"], ["1"])
        with pytest.raises(ValueError, match=r"expected columns of responses, .*; got 'group'"):
            reward(["a"], ["1"], group=[0])
        # It returns no numbers, but was called.
        with pytest.raises(ValueError, match="expected 1 numbers; got 2"):
            reward(["a"], ["1"], groups=[0])

    def test_rows_without_a_number_leave_the_others_their_rewards(self):
        columns = {"responses": ["a", "b"], "answers": ["1", "2"], "metadata": [{}, {}]}
        rewards, faults = load_reward("my_rewards:nan_inside").returned(columns)
        assert rewards.tolist() == [1, 0]
        assert [(fault.reason, fault.row) for fault in faults] == [("no_number", 1)]
        rewards, faults = load_reward("my_rewards:short").returned(columns)
        assert rewards.tolist() == [0, 0]
        assert [(fault.reason, fault.row) for fault in faults] == [("count", None)]
