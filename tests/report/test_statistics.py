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
