import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.report.pairs import Difference, paired_differences
from harness.report.statistics import Cell

SCORES = st.lists(st.floats(0, 1), min_size=3, max_size=12)


def seeds(*values: float) -> list[Cell]:
    return [Cell(seed, 0, value) for seed, value in enumerate(values)]


def difference(first: list[Cell], second: list[Cell]) -> Difference:
    return paired_differences({"a": first, "b": second})["a", "b"]


@given(SCORES, SCORES)
def test_a_paired_difference_is_that_of_scipy(first: list[float], second: list[float]):
    count = min(len(first), len(second))
    expected = scipy.stats.ttest_rel(first[:count], second[:count])

    found = difference(seeds(*first[:count]), seeds(*second[:count]))

    apart = np.subtract(first[:count], second[:count])
    assert found.mean == pytest.approx(apart.mean(), abs=1e-12)
    if apart.std() > 1e-9:
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
        assert found.interval == pytest.approx(expected.confidence_interval(0.95), abs=1e-9)


def test_only_runs_of_equal_seed_and_fold_are_compared():
    first = [Cell(0, 0, 0.5), Cell(1, 0, 0.6), Cell(7, 0, 9.0)]
    second = [Cell(1, 0, 0.4), Cell(0, 0, 0.2), Cell(8, 0, -9.0)]

    found = difference(first, second)

    assert (found.num_pairs, found.mean) == (2, pytest.approx(0.25))


def test_folds_of_a_seed_are_averaged_over_those_that_both_have():
    first = [Cell(0, 0, 1.0), Cell(0, 1, 3.0), Cell(1, 0, 5.0), Cell(1, 1, 9.0)]
    second = [Cell(0, 0, 0.0), Cell(0, 1, 0.0), Cell(1, 0, 1.0)]

    found = difference(first, second)

    assert (found.num_pairs, found.num_cells) == (2, 3)
    assert found.mean == pytest.approx((2.0 + 4.0) / 2)


def test_methods_without_a_shared_run_have_no_difference():
    assert paired_differences({"a": [Cell(0, 0, 0.5)], "b": [Cell(1, 0, 0.5)], "c": []}) == {}


def test_one_pair_has_a_difference_and_no_certainty():
    found = difference(seeds(0.5), seeds(0.25))

    assert found == Difference(0.25, None, None, 1, 1)


@pytest.mark.parametrize(("gap", "p_value"), [(0.25, 0.0), (0.0, 1.0)], ids=["shift", "equal"])
def test_pairs_that_all_differ_by_the_same(gap: float, p_value: float):
    values = (0.5, 0.25, 0.125)

    found = difference(seeds(*(value + gap for value in values)), seeds(*values))

    assert found.p_value == p_value


def test_the_order_of_runs_and_methods_changes_no_bit_but_the_sign():
    first, second = seeds(0.1, 0.7, 0.3, 0.35), seeds(0.15, 0.5, 0.2, 0.1)

    forward, backward = difference(first, second), difference(second[::-1], first[::-1])

    assert (forward.mean, forward.p_value) == (-backward.mean, backward.p_value)


def test_each_pair_of_many_methods_is_as_if_it_were_alone():
    generator = np.random.default_rng(0)
    cells = {name: seeds(*generator.random(5)) for name in "abcd"}

    found = paired_differences(cells)

    assert list(found) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert all(found[x, y] == difference(cells[x], cells[y]) for x, y in found)
