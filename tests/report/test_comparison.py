import json

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.report.cells import gather
from harness.report.comparison import _by_cell, _differences, _value_of_query, compare
from harness.report.comparison_text import render_comparison
from harness.report.tables import STYLES
from harness.store.database import query
from harness.store.schema import TABLES
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_run

LABELS = np.repeat(np.arange(6), 5)


def add_queries(
    store: Store, method: str, average_precision: np.ndarray, *, first: int
) -> np.ndarray:
    """Write one run per seed, with its queries; the mean of its queries is its value."""
    for seed, values in enumerate(average_precision):
        queries = {
            name: np.zeros(len(values), np.int64)
            for name in TABLES["queries"]
            if name not in ("attempt_id", "run_key")
        }
        queries |= {
            "sample_id": np.arange(len(values)),
            "label": LABELS,
            "num_relevant": np.full(len(values), 4),
            "ap_at_r": values,
            "r_precision": values,
            "first_hit_rank": np.where(values > 0.5, 1, 3),
            "hit_at_1": values > 0.5,
            "neighbors": np.zeros((len(values), 2), np.int64),
            "neighbor_distances": np.zeros((len(values), 2)),
        }
        metrics = [score(float(values.mean())), score(0.5, name="nmi")]
        run = toy_run(first + seed, method=method, seed=seed)
        write_attempt(store, run, metrics=metrics, queries=queries)
    return average_precision


@pytest.fixture
def studied(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Alpha is better by 0.1 but for class 0; both share the difficulty of queries."""
    generator = np.random.default_rng(0)
    shared = generator.uniform(0.3, 0.6, (1, 30)) + generator.normal(0, 0.02, (4, 1))
    gain = np.where(LABELS == 0, -0.05, 0.1)
    alpha = np.clip(shared + gain + generator.normal(0, 0.03, (4, 30)), 0, 1)
    beta = np.clip(shared + generator.normal(0, 0.03, (4, 30)), 0, 1)
    return add_queries(store, "alpha", alpha, first=1), add_queries(store, "beta", beta, first=11)


def test_the_difference_is_that_of_runs_and_of_queries_alike(store: Store, studied):
    alpha, beta = studied

    found = compare(store, "alpha", "beta")

    apart = (alpha - beta).mean(axis=0)
    assert found.difference.mean == pytest.approx(apart.mean(), abs=1e-12)
    assert found.queries is not None
    assert (found.queries.num_queries, found.queries.num_classes) == (30, 6)
    assert (found.queries.num_first, found.queries.num_second) == (
        (apart > 0).sum(),
        (apart < 0).sum(),
    )
    ranked = sorted(range(30), key=lambda i: -apart[i])
    named = [each.sample_id for each in found.queries.extreme]
    assert named[:5] == ranked[:5]
    assert named[-1] == ranked[-1]
    assert found.better == "alpha"


def test_it_agrees_with_sql(store: Store, studied):
    found = compare(store, "alpha", "beta").difference

    ((mean, p_value, half_width),) = query(
        store,
        "SELECT mean_difference, p_value, half_width FROM comparisons WHERE metric = 'map_at_r'",
    ).rows

    assert found.interval is not None
    assert (found.mean, found.p_value) == pytest.approx((mean, p_value), abs=1e-9)
    assert found.interval.high - found.mean == pytest.approx(half_width, abs=1e-9)


def test_the_interval_widens_from_seeds_to_queries_to_classes(store: Store, studied):
    found = compare(store, "alpha", "beta")

    assert found.queries is not None
    intervals = (found.difference.interval, found.queries.over_queries, found.queries.over_classes)
    widths = [interval.high - interval.low for interval in intervals if interval]
    assert len(widths) == 3
    assert widths == sorted(widths)


def test_swapping_the_methods_only_changes_signs(store: Store, studied):
    forward, backward = compare(store, "alpha", "beta"), compare(store, "beta", "alpha")

    assert forward.difference.mean == -backward.difference.mean
    assert forward.better == backward.better == "alpha"


def test_recall_is_compared_by_the_rank_of_the_first_hit(store: Store, studied):
    """First hits stand at rank 1 or 3, so recall at 1 differs and recall at 4 is full."""
    alpha, beta = studied
    for method, first in (("alpha", 21), ("beta", 31)):
        for seed in range(4):
            rows = [score(0.5, name="recall_at_1"), score(1.0, name="recall_at_4")]
            write_attempt(
                store, toy_run(first + seed, method=method, seed=10 + seed), metrics=rows
            )

    assert _query_values(store, "recall_at_1") == pytest.approx(
        ((alpha > 0.5).mean(axis=0) - (beta > 0.5).mean(axis=0)).tolist()
    )
    assert set(_query_values(store, "recall_at_4")) == {0.0}


def _query_values(store: Store, metric: str) -> list[float]:
    (board,) = gather(store)
    runs = [_by_cell(board.outcomes[method]) for method in ("alpha", "beta")]
    value = _value_of_query(metric)
    assert value is not None
    rows = _differences(store, [(runs[0][seed, 0], runs[1][seed, 0]) for seed in range(4)], value)
    assert rows is not None
    return rows.scores.mean(axis=0).tolist()


def test_a_metric_that_is_no_mean_over_queries_has_runs_only(store: Store, studied):
    found = compare(store, "alpha", "beta", metric="nmi")

    assert found.queries is None
    assert found.better is None


def test_runs_without_a_partner_are_left_out_and_counted(store: Store):
    add_scores(store, "alpha", [[0.5], [0.6], [0.9]], first=1)
    add_scores(store, "beta", [[0.4], [0.5]], first=11)

    found = compare(store, "alpha", "beta")

    assert (found.difference.num_pairs, found.num_unpaired) == (2, (1, 0))
    assert found.means == pytest.approx((0.55, 0.45))


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        pytest.param(("alpha", "betta"), "no run of method 'betta'", "'beta'", id="unknown"),
        pytest.param(("alpha", "alpha"), "compared with itself", "two methods", id="itself"),
        pytest.param(("alpha", "far"), "never ran under one protocol", "--all", id="elsewhere"),
        pytest.param(("alpha", "late"), "share no seed and fold", "--seeds", id="other-seeds"),
    ],
)
def test_what_cannot_be_compared_is_said(store: Store, names, message: str, hint: str):
    add_scores(store, "alpha", [[0.5]], first=1)
    add_scores(store, "beta", [[0.5]], first=11)
    write_attempt(store, toy_run(21, method="far", protocol_digest="f" * 64), metrics=[score(0.5)])
    write_attempt(store, toy_run(31, method="late", seed=7), metrics=[score(0.5)])

    with pytest.raises(HarnessError, match=message) as caught:
        compare(store, *names)

    assert hint in (caught.value.hint or "")


def test_the_text_says_who_wins_and_on_which_queries(store: Store, studied):
    text = render_comparison(compare(store, "alpha", "beta"), "table")

    assert "alpha is better on this test set (paired t over seeds, 5%)." in text
    assert "seeds and classes" in text
    assert "Queries that differ the most:" in text


def test_a_tie_and_a_single_seed_are_called_so(store: Store):
    add_scores(store, "alpha", [[0.5], [0.6], [0.4]], first=1)
    add_scores(store, "beta", [[0.6], [0.5], [0.41]], first=11)
    add_scores(store, "gamma", [[0.5]], first=21)

    tie = render_comparison(compare(store, "alpha", "beta"), "table")
    single = render_comparison(compare(store, "alpha", "gamma"), "table")

    assert "A tie: 3 pairs do not tell them apart" in tie
    assert "One shared seed cannot tell luck from skill" in single


@pytest.mark.parametrize("style", STYLES)
def test_every_style_prints_the_difference(store: Store, studied, style: str):
    text = render_comparison(compare(store, "alpha", "beta"), style)

    assert "difference" in text


def test_json_is_one_object_with_the_verdict(store: Store, studied):
    record = json.loads(render_comparison(compare(store, "alpha", "beta"), "json"))

    assert (record["better"], record["tie"], record["num_pairs"]) == ("alpha", False, 4)
    assert record["queries"]["num_queries"] == 30
    assert len(record["queries"]["over_classes"]) == 2
