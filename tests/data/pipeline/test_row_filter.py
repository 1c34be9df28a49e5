"""Filters: what they leave out, how it is counted, and that nothing else notices."""

import itertools
import json
from collections import Counter

import pytest

from perl_jax.data import (
    FilteredRow,
    Mixture,
    ParquetSource,
    Part,
    Pipeline,
    PipelineConfig,
    Preparer,
    RowFilter,
)
from perl_jax.types import Example
from tests.data.pipeline.numbers import Numbers, Shown, numbers, unchanged
from tests.data.sources.parquet_files import digit_png, verl_row, write_verl

ROW = Example("row-1", "nlvr2", "?", (b"", b""), "A", metadata={"mv_math": True, "level": 3})


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"sources": ("mantis", "nlvr2")},
        {"min_images": 2, "max_images": 2},
        {"max_images": 2, "min_prompt_tokens": 5},
        {"only": {"mv_math": (True,), "level": (1, 3)}},
        {"without": {"level": (1, 2), "missing": (None, True)}},
    ],
)
def test_a_row_that_is_all_it_should_be_is_kept(wanted):
    RowFilter(**wanted).check(ROW)


@pytest.mark.parametrize(
    ("wanted", "reason", "message"),
    [
        ({"sources": ("mantis",)}, "source", "it is of 'nlvr2'"),
        ({"min_images": 3}, "image_count", "2 images"),
        ({"max_images": 1}, "image_count", "2 images"),
        ({"without": {"mv_math": (True,)}}, "metadata.mv_math", "mv_math is True"),
        ({"only": {"level": (1, 2)}}, "metadata.level", "level is 3"),
        ({"only": {"missing": (None,)}}, "metadata.missing", "missing is None"),
    ],
)
def test_a_row_that_is_something_else_is_left_out_for_a_reason(wanted, reason, message):
    with pytest.raises(FilteredRow) as caught:
        RowFilter(**wanted).check(ROW)
    assert (caught.value.reason, caught.value.row, caught.value.message) == (
        reason, "row-1", message,
    )  # fmt: skip


def test_bounds_of_the_prompt_are_inclusive():
    filters = RowFilter(min_prompt_tokens=10, max_prompt_tokens=20)
    filters.check_prompt(ROW, 10)
    filters.check_prompt(ROW, 20)
    for tokens in (9, 21):
        with pytest.raises(FilteredRow, match=f"row-1: prompt_tokens: {tokens} tokens"):
            filters.check_prompt(ROW, tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": ()}, "sources: expected at least one; got none"),
        ({"min_images": -1}, "min_images: expected an integer of at least 0; got -1"),
        ({"max_prompt_tokens": 2.5}, "max_prompt_tokens: expected an integer .* got 2.5"),
        ({"min_images": 3, "max_images": 2}, "min_images: expected at most max_images = 2; got 3"),
    ],
)
def test_filters_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RowFilter(**settings)


def filtered(source, prepare=unchanged, wanted=None, **config):
    mixture = Mixture([Part("all", source, filters=RowFilter(**(wanted or {})))])
    return Pipeline(mixture, prepare, PipelineConfig(shuffle=False, **config), seed=0)


def test_filtered_rows_are_counted_apart_from_bad_ones_and_replaced():
    source = Shown(10, bad={3: "bad_image"})
    with filtered(source, wanted={"min_images": 2}, max_bad_fraction=0.2) as rows:
        assert numbers(itertools.islice(rows, 6)) == [2, 4, 7, 8, 9, 2]
        assert rows.rows == 13
        assert rows.skipped == Counter(bad_image=1)
        assert rows.filtered == Counter(image_count=6)
        state = rows.state()
        assert state["filtered"] == {"image_count": 6}
        assert state["rows"] == 13
        assert rows.metrics() == {
        "data/epoch": 1.3, "skipped/bad_image": 1.0, "filtered/image_count": 6.0
    }  # fmt: skip
    with filtered(source, wanted={"min_images": 2}, max_bad_fraction=0.2) as rows:
        rows.restore(json.loads(json.dumps(state)))
        assert rows.filtered == Counter(image_count=6)
        assert numbers(itertools.islice(rows, 2)) == [4, 7]


def test_filtered_rows_are_not_judged_as_bad_nor_do_they_hide_bad_ones():
    wanted = {"without": {"even": (True,)}}
    with filtered(Shown(400), wanted=wanted, max_bad_fraction=0.0) as rows:
        assert numbers(itertools.islice(rows, 300))[-1] == 199
    # 3 of 400 rows are bad, but only 200 are wanted, of which 2 may be.
    bad = dict.fromkeys((1, 3, 5), "bad_image")
    with (
        filtered(Shown(400, bad=bad), wanted=wanted, max_bad_fraction=0.01) as rows,
        pytest.raises(ValueError, match=r"(?s)3 of 200 rows .*bad_image +3 .*metadata.even +200"),
    ):
        list(itertools.islice(rows, 300))


@pytest.mark.reliability("17")
def test_an_epoch_of_filtered_rows_is_an_error_that_names_the_reasons():
    source = Shown(20, bad={2: "bad_image"})
    wanted = {"min_images": 4, "only": {"even": (None,)}}
    with (
        filtered(source, wanted=wanted, max_bad_fraction=1.0) as rows,
        pytest.raises(ValueError, match="no row of a whole epoch of 'all' can be used") as caught,
    ):
        next(rows)
    table = str(caught.value).splitlines()[1:]
    assert [line.split()[:3] for line in table] == [
        ["bad_image", "1", "numbers:2:"],
        ["filtered:", "image_count", "15"],
        ["filtered:", "metadata.even", "4"],
    ]


def test_a_part_of_which_nothing_is_wanted_is_an_error_even_if_others_are_fine():
    parts = [
        Part("fine", Numbers(100), 9),
        Part("empty", Shown(6), 1, RowFilter(sources=("other",))),
    ]
    with (
        Pipeline(Mixture(parts), unchanged, PipelineConfig(), seed=0) as rows,
        pytest.raises(ValueError, match=r"(?s)epoch of 'empty' can be used.*filtered: source +6 "),
    ):
        list(itertools.islice(rows, 100))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Rows of one to three images, which are 4 tokens each."""
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    return ParquetSource(
        write_verl(
            path,
            [
                verl_row(
                    n,
                    [{"bytes": digit_png(k, side=56), "path": None} for k in range(1 + n % 3)],
                    "<image>" * (1 + n % 3) + "Which?",
                )
                for n in range(9)
            ],
        )
    )


def test_prompts_are_measured_with_their_images_expanded(digits, processor):
    lengths = [
        len(processor.encode(row.question, row.images).tokens)
        for row in map(digits.__getitem__, range(3))
    ]
    assert lengths[2] - lengths[1] == lengths[1] - lengths[0] > 4
    prepare = Preparer(processor, max_prompt_tokens=lengths[1])
    bounds = {"min_prompt_tokens": lengths[1], "max_prompt_tokens": lengths[1]}
    with filtered(digits, prepare, bounds, max_bad_fraction=0.0) as rows:
        assert [row.metadata["index"] for row in itertools.islice(rows, 4)] == [1, 4, 7, 1]
        # Too long for the model as well, but not wanted in the first place.
        assert rows.filtered == Counter(prompt_tokens=7)
    with filtered(digits, prepare, max_bad_fraction=1.0) as rows:
        assert [row.metadata["index"] for row in itertools.islice(rows, 3)] == [0, 1, 3]
        assert rows.skipped == Counter(too_long=1)


def test_only_a_preparer_can_measure_prompts(digits):
    with pytest.raises(
        ValueError, match=r"length of the prompt, of \['all'\]: expected .*Preparer"
    ):
        filtered(digits, unchanged, {"max_prompt_tokens": 5})
