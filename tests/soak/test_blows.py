import itertools

from tests.soak.blows import FEWEST, HOSTS, KINDS, MOST, blows


def first(count, *arguments, **options):
    return list(itertools.islice(blows(*arguments, **options), count))


def test_every_round_has_every_kind_of_blow_once_in_an_order_of_its_own():
    rounds = [first(6, 3, first=6 * n) for n in range(20)]
    assert all({blow.kind for blow in one} == set(KINDS) for one in rounds)
    assert len({tuple(blow.kind for blow in one) for one in rounds}) > 10


def test_blows_come_after_some_steps_and_a_part_of_a_second():
    many = first(1000, 0)
    assert {blow.after for blow in many} > {FEWEST, MOST}
    assert all(FEWEST <= blow.after <= MOST and 0 <= blow.seconds < 1 for blow in many)


def test_the_same_seed_strikes_alike_from_wherever_it_goes_on():
    many = first(50, 7, HOSTS)
    assert first(20, 7, HOSTS, first=30) == many[30:]
    assert first(50, 8, HOSTS) != many
