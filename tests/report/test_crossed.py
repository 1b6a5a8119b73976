from itertools import product

import numpy as np
import pytest
import scipy.stats

from harness.report.crossed import (
    Sums,
    crossed_bootstrap,
    precision,
    query_interval,
    resampled_means,
    sums,
)


def sample(seed: int = 0, *, seeds: int = 5, queries: int = 40) -> np.ndarray:
    generator = np.random.default_rng(seed)
    parts = (generator.normal(0, 0.05, (seeds, 1)), generator.normal(0, 0.3, (1, queries)))
    return 0.5 + parts[0] + parts[1] + generator.normal(0, 0.2, (seeds, queries))


def literal_components(scores: np.ndarray) -> tuple[float, float, float]:
    """Var(mean) from seeds, queries and the rest, by Henderson's method, one product at a time.

    Averages of products of scores that share a seed, a query, both or none have expectations
    m² + the variance of what is shared.
    """
    shared: dict[tuple[bool, bool], list[float]] = {}
    num_seeds, num_queries = scores.shape
    cells = list(product(range(num_seeds), range(num_queries)))
    for (s, q), (t, r) in product(cells, cells):
        shared.setdefault((s == t, q == r), []).append(scores[s, q] * scores[t, r])
    both, seed, query, none = (
        np.mean(shared[key]) for key in ((True, True), (True, False), (False, True), (False,) * 2)
    )
    rest = both - seed - query + none
    return (
        (seed - none) / num_seeds,
        (query - none) / num_queries,
        rest / (num_seeds * num_queries),
    )


def test_the_components_are_those_of_all_products():
    scores = sample(seeds=4, queries=12)

    found = precision(sums(scores))

    assert found is not None
    assert found.mean == pytest.approx(scores.mean(), abs=1e-12)
    expected = literal_components(scores)
    assert (found.seeds, found.units, found.rest) == pytest.approx(expected, abs=1e-12)


def test_when_queries_do_not_matter_the_interval_is_the_one_over_seeds():
    """Every query of a run scores the same: only seeds are a sample."""
    of_seed = np.array([0.5, 0.6, 0.4, 0.55])
    found = precision(sums(np.repeat(of_seed[:, None], 30, axis=1)))

    assert found is not None
    expected = scipy.stats.t.interval(0.95, 3, of_seed.mean(), scipy.stats.sem(of_seed))
    assert found.interval() == pytest.approx(expected, abs=1e-12)


def test_when_seeds_do_not_matter_the_interval_is_the_one_over_queries():
    scores = np.repeat(np.random.default_rng(1).random((1, 30)), 4, axis=0)

    found = precision(sums(scores))

    assert found is not None
    assert found.interval() == pytest.approx(query_interval(sums(scores)), abs=1e-12)


def test_a_query_interval_is_that_of_scipy():
    scores = sample()
    of_query = scores.mean(axis=0)

    found = query_interval(sums(scores))

    expected = scipy.stats.t.interval(0.95, 39, of_query.mean(), scipy.stats.sem(of_query))
    assert found == pytest.approx(expected, abs=1e-12)


def test_classes_of_one_query_each_are_queries():
    scores = sample()

    by_class = sums(scores, np.random.default_rng(0).permutation(40))

    first, second = precision(by_class), precision(sums(scores))
    assert first is not None
    assert second is not None
    assert first.standard_error == pytest.approx(second.standard_error, abs=1e-12)


def test_queries_of_one_class_that_agree_widen_the_interval():
    """Twenty copies of ten queries are ten queries, and only classes know it."""
    few = sample(queries=10)
    copies, classes = np.repeat(few, 20, axis=1), np.repeat(np.arange(10), 20)

    by_class, alone = precision(sums(copies, classes)), precision(sums(few))
    by_query = precision(sums(copies))

    assert by_class is not None
    assert alone is not None
    assert by_query is not None
    assert by_class.standard_error == pytest.approx(alone.standard_error, abs=1e-12)
    assert by_query.standard_error < 0.9 * by_class.standard_error


def test_classes_of_unequal_size_keep_the_mean_over_queries():
    scores, classes = sample(queries=10), np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])

    assert sums(scores, classes).mean == pytest.approx(scores.mean(), abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 30), (5, 1)], ids=["one-seed", "one-query"])
def test_one_of_a_kind_has_no_interval(shape: tuple[int, int]):
    few = sums(np.random.default_rng(0).random(shape))

    assert precision(few) is None
    assert crossed_bootstrap(few, generator=np.random.default_rng(0)) is None


def test_scores_that_are_all_equal_are_certain():
    equal = sums(np.full((3, 10), 0.25))

    assert crossed_bootstrap(equal, generator=np.random.default_rng(0)) == (0.25, 0.25)


def test_draws_are_means_of_drawn_seeds_and_units():
    """Of two seeds and two units with one score apart, a draw has nine possible means."""
    few = Sums(np.array([[1.0, 0.0], [0.0, 0.0]]), np.ones(2))

    drawn = resampled_means(few, generator=np.random.default_rng(0), num_resamples=4000)

    possible = [seeds * units / 4 for seeds in range(3) for units in range(3)]
    assert set(drawn) <= set(possible)
    assert (drawn == 1.0).mean() == pytest.approx(1 / 16, abs=0.015)
    assert drawn.mean() == pytest.approx(few.mean, abs=0.02)


def test_the_draws_spread_as_theory_says():
    """With the sample as the population, Var* is seeds + units + rest of its own mean squares."""
    scores = sample(seeds=6, queries=30)
    known = precision(sums(scores))

    drawn = resampled_means(sums(scores), generator=np.random.default_rng(0), num_resamples=20000)

    assert known is not None
    seeds = scores.mean(axis=1).var() / 6
    queries = scores.mean(axis=0).var() / 30
    particular = (
        scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    ).var() / 180
    assert drawn.var() == pytest.approx(seeds + queries + particular, rel=0.05)


def test_equal_generators_give_equal_bits():
    few = sums(sample())

    first, second = (crossed_bootstrap(few, generator=np.random.default_rng(3)) for _ in range(2))

    assert first == second


def test_long_draws_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch):
    """Memory stays bounded; the pieces draw from one stream."""
    monkeypatch.setattr("harness.report.crossed._CHUNK", 100)

    drawn = resampled_means(sums(sample()), generator=np.random.default_rng(0), num_resamples=2001)

    assert len(np.unique(drawn)) == 2001
