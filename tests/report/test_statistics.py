import math
from itertools import permutations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.report.statistics import (
    Cell,
    holm,
    paired_difference,
    seed_means,
    student_interval,
)

SCORES = st.lists(st.floats(0, 1), min_size=3, max_size=12)


def test_folds_are_averaged_before_seeds():
    cells = [Cell(7, 0, 0.2), Cell(7, 1, 0.4), Cell(3, 0, 0.9)]

    assert seed_means(cells) == pytest.approx((0.9, 0.3))


def test_an_interval_by_hand():
    """Mean 2, standard error 1/sqrt(3), t quantile 4.3027 for two degrees of freedom."""
    low, high = student_interval([1.0, 2.0, 3.0]) or (0, 0)

    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - 2.0 == pytest.approx(4.302652729911275 / math.sqrt(3), abs=1e-9)


@pytest.mark.parametrize("values", [[], [0.5]], ids=["none", "one"])
def test_fewer_than_two_values_have_no_interval(values):
    assert student_interval(values) is None


@given(SCORES)
def test_an_interval_is_that_of_scipy(values: list[float]):
    error = max(scipy.stats.sem(values), 1e-300)  # scipy has no interval without spread

    found = student_interval(values)

    expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_order_of_seeds_does_not_change_a_bit():
    values = [0.1, 0.2, 0.7, 0.3]

    assert len({student_interval(order) for order in permutations(values)}) == 1


@given(SCORES, SCORES)
def test_a_paired_difference_is_that_of_scipy(first: list[float], second: list[float]):
    pairs = range(min(len(first), len(second)))
    differences = [first[i] - second[i] for i in pairs]

    found = paired_difference(
        {f"k{i}": first[i] for i in pairs}, {f"k{i}": second[i] for i in pairs}
    )

    assert found is not None
    assert found.mean == pytest.approx(np.mean(differences), abs=1e-12)
    if np.std(differences) > 1e-9:
        expected = scipy.stats.ttest_rel([first[i] for i in pairs], [second[i] for i in pairs])
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)
        assert found.interval == pytest.approx(expected.confidence_interval(0.95), abs=1e-9)


def test_only_shared_pairs_are_compared():
    found = paired_difference({"a": 0.5, "b": 0.6, "x": 9.0}, {"b": 0.4, "a": 0.2, "y": -9.0})

    assert found is not None
    assert found.num_pairs == 2
    assert found.mean == pytest.approx(0.25)


def test_without_shared_pairs_there_is_no_difference():
    assert paired_difference({"a": 0.5}, {"b": 0.5}) is None


def test_one_pair_has_a_difference_and_no_certainty():
    found = paired_difference({"a": 0.5}, {"a": 0.25})

    assert found is not None
    assert (found.mean, found.interval, found.p_value) == (0.25, None, None)


@pytest.mark.parametrize(("gap", "p_value"), [(0.25, 0.0), (0.0, 1.0)], ids=["shift", "equal"])
def test_pairs_that_all_differ_by_the_same(gap: float, p_value: float):
    second = {"a": 0.5, "b": 0.25, "c": 0.125}

    found = paired_difference({key: value + gap for key, value in second.items()}, second)

    assert found is not None
    assert found.p_value == p_value


def test_holm_by_hand():
    """Smallest times 4, next times 3, and so on; never smaller than the one before, at most 1."""
    assert holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx((0.04, 0.09, 0.09, 0.9))
    assert holm([0.5, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float]):
    adjusted = holm(p_values)

    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(0 <= a <= 1 for a in adjusted)
    ranked = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)
