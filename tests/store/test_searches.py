"""Views over searches: their trials count nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.report.leaderboard import leaderboard
from harness.store.database import query
from harness.store.schema import MetricRow
from harness.store.writer import Store, write_attempt
from harness.testing.rows import score, toy_run


def trial(store: Store, number: int, index: int, values: dict[int, float | None]) -> None:
    """Write a trial of the search `s`: a run of one minute for each fold; None is a failure."""
    for fold, value in values.items():
        run = toy_run(
            number + fold,
            method=f"alpha[trial {index}]",
            leaderboard_eligible=False,
            settings={"loss.tau": str(index)},
            fold=fold,
            seed=1000,
            status="failed" if value is None else "ok",
        )
        run = replace(run, search="s", search_metric="map_at_r", trial=index)
        found = MetricRow("val", 1, "map_at_r", 1, value, selected=True)
        metrics = [] if value is None else [score(0.99), found]
        write_attempt(store, run, metrics=metrics)


@pytest.fixture
def searched(store: Store) -> Store:
    """A search of three trials of two folds, and a run with what it found."""
    trial(store, 10, 0, {0: 0.5, 1: 0.6})
    trial(store, 20, 1, {0: 0.9, 1: None})
    trial(store, 30, 2, {0: 0.6, 1: 0.7})
    tuned = replace(toy_run(40, method="alpha[tuned]"), search="s", num_trials=3)
    write_attempt(store, tuned, metrics=[score(0.4)])
    write_attempt(store, toy_run(50), metrics=[score(0.3)])
    return store


def test_the_objective_of_a_trial_is_its_mean_on_the_validation_part(searched):
    sql = "SELECT trial, objective, num_failed, seconds FROM trials ORDER BY trial"

    rows = query(searched, sql).rows

    assert [row[0] for row in rows] == [0, 1, 2]
    assert [row[1] for row in rows] == [pytest.approx(0.55), None, pytest.approx(0.65)]
    assert [row[2:] for row in rows] == [(0, 120.0), (1, 120.0), (0, 120.0)]


def test_a_search_says_what_it_found_and_what_it_cost(searched):
    sql = "SELECT method, num_trials, num_failed, best_trial, num_runs, search_seconds"

    assert query(searched, f"{sql} FROM searches").rows == (("alpha[tuned]", 3, 1, 2, 6, 360.0),)


def test_trials_are_on_no_leaderboard_and_in_no_comparison(searched):
    (board,) = leaderboard(searched).boards

    assert [row.method for row in board.rows] == ["alpha[tuned]", "alpha"]
    assert board.excluded == {"trials of a search": 6}
    for view in ("scores", "leaderboard", "equal_compute"):
        methods = query(searched, f"SELECT DISTINCT method FROM {view}").rows
        assert not [name for (name,) in methods if "trial" in str(name)]


def test_a_leaderboard_shows_what_tuning_cost(searched):
    (board,) = leaderboard(searched).boards

    costs = {row.method: (row.cost.trials, row.cost.search_seconds) for row in board.rows}

    assert costs == {"alpha[tuned]": (3, 360.0), "alpha": (None, None)}
