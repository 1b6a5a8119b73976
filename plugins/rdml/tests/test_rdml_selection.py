"""Selection rules by hand, and against loops and other definitions."""

import math

import numpy as np
import pytest
from harness_rdml import selection


def cloud(seed: int, rows: int = 12, dim: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim))


def test_squared_distances_are_those_of_the_definition():
    rows = cloud(0)

    found = selection.squared_distances(rows)

    expected = [[math.dist(a, b) ** 2 for b in rows] for a in rows]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_greedy_coreset_goes_to_the_farthest_point_each_time():
    line = np.array([[0.0], [1.0], [10.0], [11.0], [5.0]])

    picks = selection.greedy_coreset(line, count=3, first=0)

    assert picks == [0, 3, 4]  # 0, then 11, then 5: five away from 0 and six from 11


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_d2_probability_is_gaussian_density_times_distance_to_the_picks(exponent):
    rows, picks = cloud(1), [2, 5]

    found = selection.d2_probability(rows, picks, exponent=exponent)

    mean, precision = rows.mean(0), np.linalg.inv(np.cov(rows.T))
    weights = [
        math.exp(-0.5 * (row - mean) @ precision @ (row - mean))
        * sum(math.dist(row, rows[pick]) ** 2 for pick in picks) ** exponent
        * (index not in picks)
        for index, row in enumerate(rows)
    ]
    np.testing.assert_allclose(found, np.array(weights) / sum(weights), atol=1e-12)


def test_a_d2_coreset_picks_distinct_rows_from_the_start_given():
    rows = cloud(2)

    picks = selection.d2_coreset(rows, count=5, start=4, exponent=1.0, choose=np.argmax)

    assert picks[0] == 4
    assert len(set(picks)) == 5


def test_a_whole_batch_matches_itself():
    rows = cloud(3)
    everything = np.arange(len(rows))

    assert selection.distance_histogram_cost(rows, everything) == pytest.approx(0, abs=1e-12)
    assert selection.frechet_cost(rows, everything) == pytest.approx(0, abs=1e-6)


def test_the_histogram_cost_adds_moments_and_sorted_shares():
    rows, subset = cloud(4, rows=6), np.array([0, 2, 3])
    pairs = [(a, b) for a in range(6) for b in range(a)]
    apart = {pair: math.dist(rows[pair[0]], rows[pair[1]]) for pair in pairs}
    low, high = min(apart.values()), max(apart.values())

    found = selection.distance_histogram_cost(rows, subset, bins=4, weights=(1.0, 2.0, 3.0))

    heights = []
    for chosen in (pairs, [(2, 0), (3, 0), (3, 2)]):
        counts = [0] * 4
        for pair in chosen:
            counts[min(3, int((apart[pair] - low) / (high - low) * 4))] += 1
        heights.append(sorted(count / len(chosen) for count in counts))
    moved = sum(abs(a - b) for a, b in zip(*heights, strict=True)) / 4
    means = math.dist(rows.mean(0), rows[subset].mean(0))
    spreads = math.dist(rows.std(0), rows[subset].std(0))
    assert found == pytest.approx(means + 2 * spreads + 3 * 2 * moved)


def test_the_frechet_distance_of_spheres_is_known():
    corners = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    rows = np.concatenate([corners, 3 * corners + 5])
    both = np.cov(rows.T)

    found = selection.frechet_cost(rows, np.arange(4))

    sizes = np.linalg.eigvalsh(both)  # the subset's covariance is 4/3 of the identity
    expected = 2 * 2.5**2 + sizes.sum() + 8 / 3 - 2 * np.sqrt(4 / 3 * sizes).sum()
    assert found == pytest.approx(expected, abs=1e-6)
