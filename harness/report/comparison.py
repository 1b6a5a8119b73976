"""Two methods, run by run and query by query.

Three questions, from the narrow to the wide: is the mean over seeds different on this test set;
would it be on other queries like these; would it be on other classes like these?
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError, did_you_mean
from harness.report.cells import Gathered, Group, gather
from harness.report.crossed import Scores, crossed_bootstrap, sums
from harness.report.outcomes import Outcomes
from harness.report.pairs import Difference, paired_differences
from harness.report.ranks import ALPHA
from harness.report.statistics import Cell, Interval, seed_means
from harness.store.database import connect
from harness.store.writer import Store

_OF_QUERY = {
    "map_at_r": "ap_at_r",
    "r_precision": "r_precision",
    "precision_at_1": "hit_at_1::DOUBLE",
}
_SEED = 0  # of the bootstrap: the same rows give the same interval


class QueryDifference(NamedTuple):
    """One query: first minus second, over the shared runs."""

    sample_id: int
    label: int
    difference: float


@dataclass(frozen=True, slots=True)
class Queries:
    """What separates two methods on single queries.

    Attributes:
        num_queries: That both answered in every shared run.
        num_classes: Theirs.
        num_first: Queries on which the first is better, over the shared runs.
        num_second: Queries on which the second is.
        over_queries: 95% interval over seeds and queries; None for one seed.
        over_classes: 95% interval over seeds and classes; None for one seed or class.
        extreme: Where they differ the most, largest difference first.
    """

    num_queries: int
    num_classes: int
    num_first: int
    num_second: int
    over_queries: Interval | None
    over_classes: Interval | None
    extreme: tuple[QueryDifference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods under one protocol, on one data set.

    Attributes:
        group: Protocol, data and metric.
        higher_is_better: Which way the metric improves.
        first: Method.
        second: Method.
        means: Of each, on the runs that both have.
        difference: First minus second, over seeds.
        queries: None for metrics that are not a mean over queries, or without their rows.
        num_unpaired: Runs of each without a partner; they are left out.
    """

    group: Group
    higher_is_better: bool
    first: str
    second: str
    means: tuple[float, float]
    difference: Difference
    queries: Queries | None
    num_unpaired: tuple[int, int]

    @property
    def better(self) -> str | None:
        """Method that is better at 5%, by the paired t test over seeds; None for a tie."""
        if self.difference.p_value is None or self.difference.p_value >= ALPHA:
            return None
        return self.first if (self.difference.mean > 0) == self.higher_is_better else self.second


class _Run(NamedTuple):
    attempt_id: str
    cell: Cell


def compare(
    store: Store,
    first: str,
    second: str,
    *,
    protocol: str | None = None,
    metric: str | None = None,
    num_extreme: int = 5,
) -> Comparison:
    """Compare two methods on the runs that both have.

    Args:
        store: To read.
        first: Method, as a leaderboard calls it.
        second: The other one.
        protocol: Name, or the beginning of a digest; None takes the newest that both ran under.
        metric: To compare by; None takes the protocol's first.
        num_extreme: Queries to name at each end.

    Raises:
        HarnessError: A method has no run, or the two never ran under one protocol on equal data,
            or share no seed and fold.
    """
    boards = gather(store, protocol=protocol, metric=metric)
    gathered = _shared_board(boards, first, second)
    mine, theirs = (_by_cell(gathered.outcomes[method]) for method in (first, second))
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        raise HarnessError(
            f"{first!r} and {second!r} share no seed and fold that ended well",
            hint="run both with equal --seeds and --folds",
        )
    pairs = [(mine[key], theirs[key]) for key in shared]
    cells = {index: [pair[index].cell for pair in pairs] for index in (0, 1)}
    difference = paired_differences({"first": cells[0], "second": cells[1]})["first", "second"]
    return Comparison(
        gathered.group,
        gathered.higher_is_better,
        first,
        second,
        means=(mean(seed_means(cells[0])), mean(seed_means(cells[1]))),
        difference=difference,
        queries=_queries(store, pairs, gathered.group.metric, num_extreme),
        num_unpaired=(len(mine) - len(shared), len(theirs) - len(shared)),
    )


def _shared_board(boards: Sequence[Gathered], first: str, second: str) -> Gathered:
    """Return the newest board that has both methods."""
    known = sorted({method for board in boards for method in board.outcomes})
    for method in (first, second):
        if method not in known:
            hint = did_you_mean(method, known) or f"there are {', '.join(known) or 'none'}"
            raise HarnessError(f"no run of method {method!r} counts", hint=hint)
    if first == second:
        raise HarnessError(f"{first!r} is compared with itself", hint="name two methods")
    both = [board for board in boards if {first, second} <= board.outcomes.keys()]
    if not both:
        raise HarnessError(
            f"{first!r} and {second!r} never ran under one protocol on equal data",
            hint="harness leaderboard --all shows what ran under which",
        )
    return both[0]


def _by_cell(runs: Outcomes) -> dict[tuple[int, int], _Run]:
    attempts, values = runs.texts("attempt_id"), runs.numbers("value")
    return {
        (int(seed), int(fold)): _Run(attempt, Cell(int(seed), int(fold), float(value)))
        for attempt, seed, fold, value in zip(
            attempts, runs.numbers("seed"), runs.numbers("fold"), values, strict=True
        )
        if not np.isnan(value)
    }


# --- queries --------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Differences of queries; `scores` is (S, Q), the others (Q,)."""

    scores: Scores
    sample_ids: NDArray[np.int64]
    labels: NDArray[np.int64]


def _queries(
    store: Store, pairs: Sequence[tuple[_Run, _Run]], metric: str, num_extreme: int
) -> Queries | None:
    value = _value_of_query(metric)
    rows = _differences(store, pairs, value) if value else None
    if rows is None:
        return None
    of_query = rows.scores.mean(axis=0)
    by_query, by_class = sums(rows.scores), sums(rows.scores, rows.labels)
    return Queries(
        num_queries=len(of_query),
        num_classes=len(by_class.sizes),
        num_first=int((of_query > 0).sum()),
        num_second=int((of_query < 0).sum()),
        over_queries=crossed_bootstrap(by_query, generator=np.random.default_rng(_SEED)),
        over_classes=crossed_bootstrap(by_class, generator=np.random.default_rng(_SEED)),
        extreme=_extreme(rows, of_query, num_extreme),
    )


def _value_of_query(metric: str) -> str | None:
    """Return the SQL of one query's share in a metric; None if it is no mean over queries."""
    cut = re.fullmatch(r"recall_at_([1-9]\d*)", metric)
    if cut:
        return f"coalesce(first_hit_rank <= {cut[1]}, false)::DOUBLE"
    return _OF_QUERY.get(metric)


def _differences(store: Store, pairs: Sequence[tuple[_Run, _Run]], value: str) -> _Rows | None:
    """Return first minus second, for queries that every seed has; folds of a seed averaged."""
    all_seeds = len({one.cell.seed for one, _ in pairs})
    runs = ", ".join(
        f"({one.cell.seed}, '{one.attempt_id}', '{other.attempt_id}')" for one, other in pairs
    )
    statement = f"""
        WITH pairs AS (SELECT * FROM (VALUES {runs}) AS runs(seed, one, other)),
        answers AS (
            SELECT attempt_id, sample_id, label, {value} AS value
            FROM all_queries WHERE num_relevant > 0
        )
        SELECT seed, a.sample_id, any_value(a.label) AS label, avg(a.value - b.value) AS difference
        FROM pairs JOIN answers AS a ON a.attempt_id = one
            JOIN answers AS b ON b.attempt_id = other AND b.sample_id = a.sample_id
        GROUP BY seed, a.sample_id
        QUALIFY count(*) OVER (PARTITION BY a.sample_id) = {all_seeds}
        ORDER BY seed, a.sample_id
    """  # noqa: S608 - numbers and ids of the store itself
    with connect(store) as database:
        found: dict[str, NDArray[Any]] = database.execute(statement).fetchnumpy()
    num_seeds = len(np.unique(found["seed"]))
    if not num_seeds:
        return None
    num_queries = len(found["seed"]) // num_seeds
    return _Rows(
        found["difference"].astype(np.float64).reshape(num_seeds, num_queries),
        found["sample_id"][:num_queries].astype(np.int64),
        found["label"][:num_queries].astype(np.int64),
    )


def _extreme(rows: _Rows, of_query: Scores, count: int) -> tuple[QueryDifference, ...]:
    """Return the queries on which each method is most ahead of the other."""
    order = np.lexsort((rows.sample_ids, -of_query))
    ends = [index for index in order[:count] if of_query[index] > 0]
    ends += [index for index in order[max(count, len(order) - count) :] if of_query[index] < 0]
    return tuple(
        QueryDifference(int(rows.sample_ids[i]), int(rows.labels[i]), float(of_query[i]))
        for i in ends
    )
