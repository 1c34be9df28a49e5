import numpy as np
import pytest

from perl_jax.rewards import load_reward

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
constant = 3
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

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nothing", "my_rewards:nothing: expected 2 numbers; got NoneType"),
            ("short", "my_rewards:short: expected 2 numbers; got 1"),
            ("none_inside", "my_rewards:none_inside, row 1.*None"),
            ("nan_inside", "my_rewards:nan_inside, row 1.*nan"),
            ("words", "my_rewards:words, row 0"),
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
