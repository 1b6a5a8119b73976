from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.pairs import Difference
from harness.report.ranks import Place, adjusted, places

METHODS = "abcdef"
BETTER = st.sets(st.sampled_from(list(combinations(METHODS, 2))))


def test_all_resolved_is_a_plain_ranking():
    found = places("abc", combinations("abc", 2))

    assert [found[m] for m in "abc"] == [Place(1, 1, ()), Place(2, 2, ()), Place(3, 3, ())]


def test_nothing_resolved_is_one_shared_rank():
    found = places("abc", [])

    assert {(place.first, place.last) for place in found.values()} == {(1, 3)}
    assert found["b"].ties == ("a", "c")


def test_a_clear_winner_and_a_tie_behind_it():
    found = places("abc", [("a", "b"), ("a", "c")])

    assert [found[m] for m in "abc"] == [Place(1, 1, ()), Place(2, 3, ("c",)), Place(2, 3, ("b",))]


def test_better_than_better_is_better():
    assert places("abc", [("a", "b"), ("b", "c")])["a"] == Place(1, 1, ())


def test_a_pair_against_the_order_of_the_means_is_left_out():
    assert places("ab", [("b", "a")])["a"] == Place(1, 2, ("b",))


@given(BETTER)
def test_methods_that_are_not_told_apart_can_hold_the_same_place(better: set[tuple[str, str]]):
    found = places(METHODS, better)

    for method, place in found.items():
        assert 1 <= place.first <= place.last <= len(METHODS)
        for other in place.ties:
            assert method in found[other].ties
            assert max(place.first, found[other].first) <= min(place.last, found[other].last)


@given(BETTER)
def test_who_is_shown_to_be_better_never_stands_behind(better: set[tuple[str, str]]):
    found = places(METHODS, better)

    for winner, loser in better:
        assert found[winner].first < found[loser].first
        assert found[winner].last < found[loser].last


def test_pairs_without_a_test_cost_the_others_nothing():
    tested = Difference(0.1, None, 0.01, 5, 5)
    untested = Difference(0.1, None, None, 1, 1)

    found = adjusted({("a", "b"): tested, ("a", "c"): untested, ("b", "c"): tested})

    assert found == pytest.approx({("a", "b"): 0.02, ("b", "c"): 0.02})
