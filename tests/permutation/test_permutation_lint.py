import numpy as np
import pytest

from perl_jax.permutation import (
    Rule,
    lint,
    orders_for,
    permutation_metrics,
    rule_for,
    rules_from_config,
)
from perl_jax.types import Example


def row(name, question, source="NLVR2", num_images=2, answer="A", **metadata):
    return Example(name, source, question, tuple(range(num_images)), answer, (), metadata)


DATA = [
    row("n1", "The left image is red."),
    row("n2", "Both images are red."),
    row("n3", "The dog on the right is red."),
    row("n4", "The cat on the right is red."),
    row("t1", "What next?", "MMIU", 4, task="temporal_ordering"),
    row("s1", "What is this?", "Geometry3K", 1),
    row("u1", "Is image 2 red?", "my/source"),
]


def test_lint_counts_what_can_be_permuted_and_why_the_rest_cannot():
    report = lint(DATA)
    assert (report.total, report.permuted, report.fraction) == (7, 2, pytest.approx(2 / 7))
    assert report.reasons == {
        "ambiguous_side": 2, "temporal": 1, "single_image": 1, "unknown_source": 1,
    }  # fmt: skip
    assert report.samples["ambiguous_side"] == ("n3", "n4")
    assert report.sources == {"NLVR2": (4, 2), "MMIU": (1, 0), "Geometry3K": (1, 0),
                              "my/source": (1, 0)}  # fmt: skip


def test_lint_shows_examples_of_rewrites():
    (rewrite,) = lint(DATA).rewrites
    assert (rewrite.example_id, rewrite.order, rewrite.field) == ("n1", (1, 0), "question")
    assert (rewrite.before, rewrite.after) == ("The left image is red.", "The right image is red.")


def test_lint_keeps_as_many_samples_as_asked():
    data = [row(str(i), "The first one, and the left image.") for i in range(9)]
    assert lint(data, num_samples=2).samples["ambiguous_reference"] == ("0", "1")
    data = [row(str(i), "The left image.") for i in range(9)]
    assert [rewrite.example_id for rewrite in lint(data, num_samples=2).rewrites] == ["0", "1"]


def test_lint_uses_the_rules_of_the_user():
    rules = rules_from_config({"my/source": {}})
    assert lint(DATA, rules=rules).sources["my/source"] == (1, 1)


def test_lint_can_insist_on_declared_sources():
    with pytest.raises(ValueError, match="no permutation rule for the multi-image source"):
        lint(DATA, unknown="error")


def test_the_report_prints_as_a_table_of_at_most_100_columns():
    long = row("a" * 300, "The left image is red, " * 20, "NLVR2")
    text = str(lint([*DATA, long]))
    assert "3 of 8 examples can be permuted (37.5%)" in text
    assert "ambiguous_side                         2  n3, n4" in text
    assert "  - The left image is red." in text
    assert "  + The right image is red." in text
    assert max(map(len, text.splitlines()[:-3])) <= 100


def test_an_empty_data_set_has_a_report():
    assert str(lint([])).startswith("0 of 0 examples can be permuted (0.0%)")


def test_the_own_order_comes_first_and_the_others_follow():
    own = row("a", "Is image 3 red?", num_images=4)
    result = orders_for(own, Rule(), seed=0, step=0, rate=1.0, num_orders=3)
    assert result.orders.shape == (4, 4)
    assert result.orders[0].tolist() == [0, 1, 2, 3]
    assert result.examples[0] is own
    for order, example in zip(result.orders, result.examples, strict=True):
        assert example.images == tuple(order)
        assert example.question == f"Is image {order.tolist().index(2) + 1} red?"
    assert (result.drawn, result.reason) == (True, None)


def test_a_closed_gate_leaves_the_own_order_alone():
    result = orders_for(DATA[0], Rule(), seed=0, step=0, rate=0.0, num_orders=3)
    assert (result.drawn, result.reason, len(result.examples)) == (False, None, 1)


def test_an_order_that_the_text_does_not_allow_is_left_out():
    own = row("a", "Are images 1-3 red?", num_images=4)
    result = orders_for(own, Rule(), seed=0, step=0, rate=1.0, num_orders=23)
    # {1, 2, 3} stays a range when the fourth image goes to either end: 2 * 3! orders.
    assert len(result.orders) == 12
    assert result.reason is None


def test_an_example_whose_text_allows_no_order_says_why():
    result = orders_for(DATA[2], rule_for(DATA[2]), seed=0, step=0, rate=1.0, num_orders=2)
    assert (len(result.orders), result.drawn, result.reason) == (1, True, "ambiguous_side")


@pytest.mark.reliability("22")
def test_an_example_of_one_image_keeps_its_order_and_is_counted():
    result = orders_for(DATA[5], rule_for(DATA[5]), seed=0, step=0, rate=1.0, num_orders=2)
    assert result.orders == ((0,),)
    assert result.examples == (DATA[5],)
    assert permutation_metrics([result])["permutation/kept/single_image"] == 1.0


@pytest.mark.parametrize(
    ("item", "rule", "reason"),
    [
        pytest.param(
            row("o1", "Sort them.", num_images=3, answer="1→2→2"),
            Rule(answer="relabel_order"),
            "malformed_order",
            marks=pytest.mark.reliability("21"),
        ),
        pytest.param(
            Example("d1", "s", "Which is a cat?", ("x", "x", "y"), "A",
                    ("A. <image>", "B. <image>", "C. <image>")),
            Rule(movable="option_images", answer="remap_letter"),
            "duplicate_images",
            marks=pytest.mark.reliability("23"),
        ),
    ],
)  # fmt: skip
def test_a_row_that_no_order_fits_keeps_its_own_and_is_counted(item, rule, reason):
    result = orders_for(item, rule, seed=0, step=0, rate=1.0, num_orders=2)
    assert result.examples == (item,)
    assert permutation_metrics([result])[f"permutation/kept/{reason}"] == 1.0


def test_metrics_tell_the_rate_that_was_drawn_from_the_one_that_happened():
    batch = [
        orders_for(item, rule_for(item, unknown="keep"), seed=0, step=0, rate=1.0, num_orders=1)
        for item in DATA[:4]
    ]
    batch += [
        orders_for(DATA[0], Rule(), seed=0, step=step, rate=0.0, num_orders=1) for step in range(4)
    ]
    assert permutation_metrics(batch) == {
        "permutation/rate_drawn": 0.5,
        "permutation/rate_realised": 0.25,
        "permutation/orders": 1.25,
        "permutation/kept/ambiguous_side": 0.25,
    }
    assert permutation_metrics([])["permutation/rate_realised"] == 0.0


def test_the_realised_rate_follows_the_gate():
    batch = [
        orders_for(row(str(i), "Are both red?"), Rule(), seed=1, step=9, rate=0.3, num_orders=1)
        for i in range(3000)
    ]
    rate = permutation_metrics(batch)["permutation/rate_realised"]
    assert abs(rate - 0.3) <= 3 * np.sqrt(0.3 * 0.7 / 3000)
