"""Searches in SQL: what each trial came to, and what the whole cost."""

from __future__ import annotations

# An attempt that was interrupted is no outcome, but its time was spent.
TRIALS = r"""
    WITH tried AS (
        SELECT *, sum(wall_seconds) OVER (PARTITION BY run_key) AS spent FROM attempts
        WHERE trial IS NOT NULL
        QUALIFY row_number() OVER (
            PARTITION BY run_key ORDER BY status <> 'ok', status <> 'failed', attempt_id) = 1
    ), valued AS (
        SELECT tried.*, value, higher_is_better FROM tried LEFT JOIN all_metrics
            ON tried.attempt_id = all_metrics.attempt_id
            AND part = 'val' AND selected AND name = search_metric
    )
    SELECT search, protocol, protocol_digest, dataset,
        regexp_replace(method, '\[trial [0-9]+\]$', '[tuned]') AS method, trial,
        any_value(settings) AS settings, search_metric,
        bool_and(higher_is_better) AS higher_is_better,
        if(count(value) = count(*), avg(value ORDER BY seed, fold), NULL) AS objective,
        count(*) AS num_runs, count(value) AS num_ok,
        count(*) FILTER (status = 'failed') AS num_failed,
        sum(spent ORDER BY seed, fold) AS seconds
    FROM valued GROUP BY ALL
"""

SEARCHES = """
    SELECT search, protocol, protocol_digest, dataset, method, search_metric,
        count(*) AS num_trials, count(*) FILTER (num_failed > 0) AS num_failed,
        if(bool_and(higher_is_better), max(objective), min(objective)) AS objective,
        if(bool_and(higher_is_better), arg_max(trial, objective), arg_min(trial, objective))
            AS best_trial,
        sum(num_runs)::BIGINT AS num_runs, sum(seconds ORDER BY trial) AS search_seconds
    FROM trials GROUP BY ALL
"""

DOCS = {
    "trials": "Each trial of each search: its values and its objective. No trial is in a mean, a "
    "comparison or on a leaderboard; its runs are in `runs` under a label of their own.",
    "searches": "Each search: what it found, and what it cost; `method` is the label of the "
    "runs with the values that were found.",
}

COLUMN_DOCS = {
    "objective": "Mean validation value over folds and seeds, NULL if a run has none; of a "
    "search, that of its best trial.",
    "num_runs": "Runs that were tried.",
    "num_ok": "Runs with a validation value.",
    "num_failed": "Of a trial, its failed runs; of a search, its trials with one.",
    "seconds": "From start to end, over all attempts.",
    "search_seconds": "All trials one after the other, from start to end.",
    "best_trial": "The trial whose values were found.",
}
