"""Do intervals keep their promise? Simulated studies whose truth is known.

A study has a mean, an effect of each seed, of each query and of each class of queries, and noise.
Standard deviations are those of small real studies: seeds 0.01, queries 0.3, noise 0.15.
"""

from itertools import combinations

import numpy as np
import pytest

from harness.report.crossed import crossed_bootstrap, precision, query_interval, sums
from harness.report.pairs import paired_differences
from harness.report.ranks import adjusted, places
from harness.report.statistics import Cell, Interval, student_interval

REPLICATIONS = 2000
TRUTH = 0.02
EXPECTED = (0.93, 0.97)


def studies(
    *, seeds: int, queries: int, seed_sd: float, query_sd: float, noise: float = 0.15
) -> np.ndarray:
    """Return differences of two methods, (REPLICATIONS, seeds, queries)."""
    generator = np.random.default_rng(20201)
    of_seed = generator.normal(TRUTH, seed_sd, (REPLICATIONS, seeds, 1))
    of_query = generator.normal(0, query_sd, (REPLICATIONS, 1, queries))
    return of_seed + of_query + generator.normal(0, noise, (REPLICATIONS, seeds, queries))


def coverage(intervals: list[Interval | None], truth: float = TRUTH) -> float:
    return float(np.mean([i is not None and i.low <= truth <= i.high for i in intervals]))


SHAPES = [
    pytest.param({"seeds": 5, "queries": 40, "seed_sd": 0.03, "query_sd": 0.1}, id="both"),
    pytest.param({"seeds": 5, "queries": 40, "seed_sd": 0.03, "query_sd": 0.0}, id="seeds"),
    pytest.param({"seeds": 10, "queries": 40, "seed_sd": 0.01, "query_sd": 0.3}, id="queries"),
]


@pytest.mark.parametrize("num_seeds", [2, 5, 10])
def test_the_interval_over_seeds_holds_the_truth_95_times_in_100(num_seeds: int):
    values = np.random.default_rng(0).normal(TRUTH, 0.01, (REPLICATIONS, num_seeds))

    found = coverage([student_interval(list(row)) for row in values])

    assert EXPECTED[0] <= found <= EXPECTED[1]


def test_the_interval_of_paired_differences_holds_the_truth_95_times_in_100():
    """Pairs share most of their luck; folds of one seed share the rest."""
    generator = np.random.default_rng(0)
    luck = generator.normal(0, 0.05, (REPLICATIONS, 5, 1))
    own = generator.normal(0, 0.01, (REPLICATIONS, 5, 1))
    first = luck + generator.normal(TRUTH, 0.01, (REPLICATIONS, 5, 4)) + own
    second = luck + generator.normal(0, 0.01, (REPLICATIONS, 5, 4))

    found = [
        paired_differences({"a": cells(a), "b": cells(b)})["a", "b"]
        for a, b in zip(first, second, strict=True)
    ]

    assert EXPECTED[0] <= coverage([f.interval for f in found]) <= EXPECTED[1]
    unpaired = [student_interval(list(row)) for row in first.mean(axis=2)]
    assert mean_width([f.interval for f in found]) < 0.5 * mean_width(unpaired)


def mean_width(intervals: list[Interval | None]) -> float:
    return float(np.mean([i.high - i.low for i in intervals if i]))


def cells(values: np.ndarray) -> list[Cell]:
    return [Cell(s, f, float(v)) for s, row in enumerate(values) for f, v in enumerate(row)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_over_seeds_and_queries_holds_the_truth_95_times_in_100(shape):
    found = [precision(sums(study)) for study in studies(**shape)]

    held = coverage([each.interval() if each else None for each in found])

    assert EXPECTED[0] <= held <= EXPECTED[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_crossed_bootstrap_holds_the_truth_95_times_in_100(shape):
    generator = np.random.default_rng(1)

    held = coverage(
        [
            crossed_bootstrap(sums(study), generator=generator, num_resamples=300)
            for study in studies(**shape)
        ]
    )

    assert EXPECTED[0] <= held <= EXPECTED[1]


def test_an_interval_over_queries_alone_misses_the_truth_far_too_often():
    shape = {"seeds": 5, "queries": 1000, "seed_sd": 0.01, "query_sd": 0.1}

    held = coverage([query_interval(sums(study)) for study in studies(**shape)])

    assert held < 0.8


def test_queries_of_a_class_that_agree_need_the_interval_over_classes():
    """Thirty classes of ten queries; the interval over queries takes them for 300 facts."""
    generator = np.random.default_rng(7)
    of_class = np.repeat(generator.normal(0, 0.2, (REPLICATIONS, 1, 30)), 10, axis=2)
    differences = studies(seeds=5, queries=300, seed_sd=0.01, query_sd=0.1) + of_class
    classes = np.repeat(np.arange(30), 10)

    by_class = [precision(sums(study, classes)) for study in differences]
    by_query = [precision(sums(study)) for study in differences]

    assert EXPECTED[0] <= coverage([p.interval() if p else None for p in by_class]) <= EXPECTED[1]
    assert coverage([p.interval() if p else None for p in by_query]) < 0.8


def test_equal_methods_are_split_in_at_most_one_study_of_twenty():
    """The promise of Holm is per study; the share of pairs split is smaller still."""
    generator = np.random.default_rng(2)
    methods = "abcdefgh"
    studies_split = pairs_split = 0
    for _ in range(REPLICATIONS):
        values = generator.normal(0.5, 0.01, (len(methods), 5))
        p_values = adjusted(
            paired_differences(
                {m: cells(v[:, None]) for m, v in zip(methods, values, strict=True)}
            )
        )
        split = sum(p < 0.05 for p in p_values.values())
        studies_split += split > 0
        pairs_split += split

    chance = 3 * (0.05 * 0.95 / REPLICATIONS) ** 0.5  # of the simulation itself
    assert studies_split / REPLICATIONS <= 0.05 + chance
    assert pairs_split / (REPLICATIONS * len(list(combinations(methods, 2)))) <= 0.05


def test_without_holm_most_studies_would_split_equals():
    """Why it is there: 28 tests at 5% each."""
    generator = np.random.default_rng(2)
    split = 0
    for _ in range(200):
        values = generator.normal(0.5, 0.01, (8, 5, 1))
        found = paired_differences({str(m): cells(v) for m, v in enumerate(values)})
        split += any(f.p_value is not None and f.p_value < 0.05 for f in found.values())

    assert split / 200 > 0.4


def test_a_known_order_is_found_with_enough_seeds():
    generator = np.random.default_rng(3)
    values = {m: generator.normal(0.5 - 0.05 * i, 0.005, (10, 1)) for i, m in enumerate("abc")}
    p_values = adjusted(paired_differences({m: cells(v) for m, v in values.items()}))

    found = places("abc", [pair for pair, p in p_values.items() if p < 0.05])

    assert [(found[m].first, found[m].last) for m in "abc"] == [(1, 1), (2, 2), (3, 3)]
