"""What the tests of the benchmarks share: reading, permuting in every order, scripted judges."""

from itertools import permutations

from perl_jax.permutation.layout import movable_slots
from perl_jax.permutation.permute import permute
from perl_jax.permutation.sources import rule_for
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import image


def pictures(*numbers):
    """An image column of parquet: structs of bytes and path."""
    return [image(digit_png(number)) for number in numbers]


def pngs(*numbers):
    """The images of these numbers, as examples hold them."""
    return tuple(digit_png(number) for number in numbers)


def read_one(benchmark, path):
    [row] = benchmark.read(path)
    return row


def bad_rows(benchmark, path):
    """The reasons of bad rows, and the ids of good ones."""
    return [row.id if hasattr(row, "id") else row.reason for row in benchmark.read(path)]


def in_all_orders(example):
    """The example in every order that its built-in rule allows, by order."""
    rule = rule_for(example)
    movable = movable_slots(example, rule)
    slots = range(len(example.images))
    orders = [
        order
        for order in permutations(slots)
        if all(order[slot] == slot for slot in slots if slot not in movable)
    ]
    assert len(orders) > 1
    return {order: permute(example, order, rule) for order in orders}


class Judge:
    """A judge that replies the same to all questions, and keeps them."""

    def __init__(self, reply):
        self.reply = reply
        self.asked = []

    def __call__(self, question):
        self.asked.append(question)
        return self.reply
