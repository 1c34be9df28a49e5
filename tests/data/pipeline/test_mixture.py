"""Mixtures in the pipeline: shares, epochs and exact resume, with filters and workers."""

import itertools
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from grain.experimental import assert_equal_output_after_checkpoint
from ml_collections import ConfigDict

from perl_jax.data import Mixture, Part, Pipeline, PipelineConfig, Preparer, RowFilter
from perl_jax.data.config import SourceConfig, open_source
from perl_jax.settings import plain, read_config
from tests.data.pipeline.numbers import Numbers, Shown, slow_if_even, unchanged

SMALL, MIDDLE, LARGE = Numbers(5, name="a"), Numbers(8, name="b"), Numbers(30, name="c")


def mixture(**changed):
    weights = {"a": 5, "b": 2, "c": 1} | changed
    sources = {"a": SMALL, "b": MIDDLE, "c": LARGE}
    return Mixture([Part(name, sources[name], weights[name]) for name in weights if weights[name]])


def pipeline(source, prepare=unchanged, *, seed=0, repeat=True, **config):
    return Pipeline(source, prepare, PipelineConfig(**config), seed=seed, repeat=repeat)


def take(rows, count):
    return [row.id for row in itertools.islice(rows, count)]


def of(name, ids):
    return [int(id.partition("/")[2]) for id in ids if id.startswith(f"{name}/")]


def test_the_shares_are_exact_from_anywhere():
    with pipeline(mixture()) as rows:
        ids = take(rows, 120)
    for start in range(80):
        window = Counter(id[0] for id in ids[start : start + 40])
        assert window == {"a": 25, "b": 10, "c": 5}


def test_every_part_has_epochs_and_orders_of_its_own():
    with pipeline(mixture()) as rows:
        ids = take(rows, 240)
    for name, size, count in (("a", 5, 150), ("b", 8, 60), ("c", 30, 30)):
        numbers = of(name, ids)
        assert len(numbers) == count
        epochs = [numbers[k : k + size] for k in range(0, count - size + 1, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert list(range(size)) not in epochs[:1]
        assert len(set(map(tuple, epochs))) > 1 or len(epochs) == 1


def test_the_order_of_a_part_does_not_depend_on_the_other_parts_but_on_the_seed():
    def order(seed=0, **changed):
        with pipeline(mixture(**changed), seed=seed) as rows:
            return of("b", take(rows, 64))[:16]

    assert order() == order(a=1) == order(c=0, b=9) == order(a=0)
    assert order() != order(seed=1)
    twins = Mixture([Part("one", MIDDLE), Part("other", MIDDLE)])
    with pipeline(twins) as rows:
        ids = take(rows, 16)
    assert sorted(ids[::2]) == sorted(ids[1::2])
    assert ids[::2] != ids[1::2]


def test_without_shuffling_every_part_keeps_its_order():
    with pipeline(mixture(), shuffle=False) as rows:
        ids = take(rows, 16)
    assert of("a", ids) == [0, 1, 2, 3, 4] * 2
    assert of("b", ids) == [0, 1, 2, 3]
    assert of("c", ids) == [0, 1]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_single_epoch_has_every_row_of_every_part_once(shuffle):
    with pipeline(mixture(), repeat=False, shuffle=shuffle) as rows:
        ids = take(rows, 1000)
    assert sorted(ids) == sorted(
        f"{source.name}/{n}" for source in (SMALL, MIDDLE, LARGE) for n in range(len(source))
    )


def filtered_mixture():
    """Bad rows, rows filtered by what they show and say, and parts of several lengths."""
    shown = Shown(20, name="a", bad={3: "bad_image", 4: "answer_null"})
    return Mixture(
        [
            Part("a", shown, 3, RowFilter(min_images=1, max_images=3)),
            Part("b", Shown(7, name="b"), 2, RowFilter(without={"even": (True,)})),
            Part("c", Numbers(11, name="c", bad={0: "bad_image"}), 1),
        ]
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_every_state_leads_to_the_rest_of_the_rows(workers):
    options = {"seed": 4, "max_bad_fraction": 0.5}
    with pipeline(filtered_mixture(), **options) as rows:
        states, ids = [rows.state()], []
        for _ in range(24):
            ids += take(rows, 1)
            states.append(rows.state())
    assert states[-1]["filtered"].keys() == {"image_count", "metadata.even"}
    assert states[-1]["skipped"].keys() == {"answer_null", "bad_image"}
    with pipeline(filtered_mixture(), slow_if_even, workers=workers, **options) as rows:
        for place in (24, 0, 13, 7, 23, 3, 18):
            rows.restore(json.loads(json.dumps(states[place])))
            assert rows.state() == states[place]
            assert take(rows, 24 - place) == ids[place:]
            assert rows.state() == states[24]


class FirstRows:
    """The first rows of a pipeline as grain's test wants them; a state as text has one form."""

    def __init__(self, rows, count):
        self.rows, self.left = rows, count

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return next(self.rows).id

    def get_state(self):
        return {"left": self.left, "rows": json.dumps(self.rows.state())}

    def set_state(self, state):
        self.left = state["left"]
        self.rows.restore(json.loads(state["rows"]))


class RowsAhead(FirstRows):
    """A row is lost where a state is restored."""

    def set_state(self, state):
        super().set_state(state)
        next(self.rows)


class AgainAndAgain:
    """What grain's test iterates over: every time from the start, in a pipeline that is in use."""

    def __init__(self, rows, count, kind=FirstRows):
        self.rows, self.count, self.kind = rows, count, kind
        self.start = rows.state()

    def __iter__(self):
        self.rows.restore(self.start)
        return self.kind(self.rows, self.count)


@pytest.mark.parametrize("workers", [0, 2])
def test_grains_own_checkpoint_test_passes_on_a_filtered_mixture(workers):
    config = {"workers": workers, "prefetch": 3, "max_bad_fraction": 0.5}
    with pipeline(filtered_mixture(), **config) as rows:
        assert_equal_output_after_checkpoint(AgainAndAgain(rows, 10))


def test_grains_own_checkpoint_test_catches_a_lost_row():
    with pipeline(mixture()) as rows, pytest.raises(AssertionError):
        assert_equal_output_after_checkpoint(AgainAndAgain(rows, 3, RowsAhead))


def test_a_state_of_another_mixture_is_refused_by_what_differs():
    with pipeline(mixture()) as rows:
        take(rows, 4)
        state = rows.state()
    message = r"source: was .*; shares: was \[5, 2, 1\], is \[5, 3, 1\]$"
    with pipeline(mixture(b=3)) as rows, pytest.raises(ValueError, match=message):
        rows.restore(state)


def test_the_fingerprint_is_that_of_parts_weights_and_filters():
    def with_part(**changed):
        part = {"name": "a", "source": SMALL, "weight": 2, "filters": RowFilter()} | changed
        return Mixture([Part(**part), Part("b", MIDDLE)]).fingerprint()

    same = with_part()
    assert same == with_part()
    int(same, 16)
    changed = [
        {"name": "z"},
        {"weight": 3},
        {"source": Numbers(6)},
        {"filters": RowFilter(max_images=2)},
        {"filters": RowFilter(only={"even": (True,)})},
    ]
    assert len({same, *(with_part(**change) for change in changed)}) == 6
    # Only proportions matter.
    assert (
        Mixture([Part("a", SMALL, 1)]).fingerprint() == Mixture([Part("a", SMALL, 2)]).fingerprint()
    )


def test_a_row_of_the_mixture_is_that_of_its_part():
    whole = pickle.loads(pickle.dumps(mixture()))
    assert len(whole) == 43
    ids = [whole[index].id for index in (0, 4, 5, 12, 13, 42)]
    assert ids == ["a/0", "a/4", "b/0", "b/7", "c/0", "c/29"]
    for index in (-1, 43):
        with pytest.raises(IndexError, match=f"a row from 0 to 42; got {index}"):
            whole[index]


def test_a_pass_in_turns_has_every_row_once_and_the_shares_while_all_parts_last():
    whole = mixture()
    order = list(whole.in_turns())
    assert sorted(order) == list(range(43))
    parts = [whole.part_of(index) for index in order]
    assert Counter(parts[:8]) == {0: 5, 1: 2, 2: 1}
    assert [index for index in order if index < 5] == [0, 1, 2, 3, 4]
    assert set(parts[-26:]) == {2}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "expected parts of different names; got "),
        ([Part("a", SMALL), Part("a", LARGE)], r"different names; got \['a', 'a'\]"),
        ([Part("a", SMALL), Part("b", Numbers(0))], r"rows in every part; got none in \['b'\]"),
        ([Part("a", SMALL, 0)], "weight: expected a positive number; got 0"),
    ],
)
def test_what_is_no_mixture_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Mixture(parts)


FILE = {
    "mixture": (
        {
            "source": {"digits": {"rows": 40, "seed": 1}},
            "weight": 3,
            "name": "easy",
            "filters": {"max_images": 2, "only": {"question_type": ["position", "property"]}},
        },
        {"source": {"digits": {"rows": 30, "seed": 2}}},
    )
}


def test_a_configuration_file_describes_a_mixture(processor):
    config = read_config(SourceConfig, ConfigDict(FILE))
    assert read_config(SourceConfig, plain(config)) == config
    source = open_source(config)
    assert [(part.name, part.weight) for part in source.parts] == [("easy", 3.0), ("2", 1.0)]
    assert source.parts[0].filters.only == {"question_type": ("position", "property")}
    prepare = Preparer(processor, max_prompt_tokens=1000)
    with pipeline(source, prepare) as rows:
        taken = list(itertools.islice(rows, 24))
        assert rows.filtered.keys() == {"image_count", "metadata.question_type"}
    for row in taken:
        if row.id.startswith("train-1-"):
            assert len(row.images) == 2
            assert row.metadata["question_type"] in ("position", "property")
    assert {row.id[:7] for row in taken} == {"train-1", "train-2"}
    assert all(np.isfinite(image.patches).all() for row in taken for image in row.images)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ({"weight": 2}, ValueError, r"mixture\[0\]: expected source; got only weight"),
        ({"source": FILE}, ValueError, r"mixture\[0\].source: expected no mixture in a mixture"),
        (
            {"source": {"digits": {}}, "filters": {"max_image": 3}},
            ValueError,
            r"mixture\[0\].filters.max_image: unknown key \(did you mean 'max_images'\?\)",
        ),
        (
            {"source": {"digits": {}}, "filters": {"without": {"even": True}}},
            TypeError,
            r"mixture\[0\].filters.without.even: expected a list; got True",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_path(part, error, message):
    with pytest.raises(error, match=message):
        read_config(SourceConfig, {"mixture": [part]})
