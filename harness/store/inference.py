"""Statistics in SQL: the views that test differences, and the function DuckDB lacks.

The same numbers as `harness.report`, which tests hold them to.
"""

from __future__ import annotations

ALPHA = 0.05

# P(|T| > |t|) for whole degrees of freedom: 1 - A(t | df), Abramowitz & Stegun 26.7.3 and 26.7.4,
# with theta = atan(|t| / sqrt(df)); the double factorials are ratios of gamma functions.
STUDENT_P = """
    CREATE MACRO student_p(t, df) AS CASE WHEN isinf(t) THEN 0.0 WHEN df % 2 = 0 THEN
        1 - abs(t) / sqrt(df + t * t) * list_sum(list_transform(range(0, df // 2), lambda j:
            exp(lgamma(j + 0.5) - lgamma(j + 1.0)) / sqrt(pi()) * pow(df / (df + t * t), j)))
    ELSE
        1 - 2 / pi() * (atan(abs(t) / sqrt(df)) + coalesce(
            abs(t) * sqrt(df) / (df + t * t) * list_sum(list_transform(range(0, (df - 1) // 2),
                lambda j: exp(lgamma(j + 1.0) - lgamma(j + 1.5)) * sqrt(pi()) / 2
                    * pow(df / (df + t * t), j))), 0))
    END
"""

SCORES = """
    SELECT runs.*, name AS metric, version AS metric_version, higher_is_better, value
    FROM runs JOIN all_metrics USING (attempt_id)
    WHERE leaderboard_eligible AND NOT smoke AND len(deviations) = 0
        AND part = 'test' AND selected AND value IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY protocol_digest, data_digest, method, metric, metric_version, fold, seed
        ORDER BY ended_at DESC, attempt_id DESC
    ) = 1
"""

COMPARISONS = f"""
    WITH seeds AS (
        SELECT one.protocol, one.protocol_digest, one.data_digest, one.dataset, one.metric,
            one.metric_version, one.higher_is_better, one.method AS first_method,
            other.method AS second_method, one.seed, count(*) AS num_cells,
            avg(one.value - other.value ORDER BY one.fold) AS difference
        FROM scores AS one JOIN scores AS other
            ON one.protocol_digest = other.protocol_digest
            AND one.data_digest IS NOT DISTINCT FROM other.data_digest
            AND one.metric = other.metric AND one.metric_version = other.metric_version
            AND one.seed = other.seed AND one.fold = other.fold AND one.method < other.method
        GROUP BY ALL
    ), pairs AS (
        SELECT * EXCLUDE (seed, num_cells, difference),
            avg(difference ORDER BY seed) AS mean_difference, count(*) AS num_pairs,
            sum(num_cells)::BIGINT AS num_cells,
            stddev_samp(difference ORDER BY seed) / sqrt(count(*)) AS standard_error
        FROM seeds GROUP BY ALL
    ), tested AS (
        SELECT *, standard_error
            * list_extract(getvariable('t_quantiles'), num_pairs - 1) AS half_width,
            CASE WHEN standard_error > 0
                THEN student_p(mean_difference / standard_error, num_pairs - 1)
                WHEN num_pairs > 1 THEN if(mean_difference = 0, 1.0, 0.0) END AS p_value
        FROM pairs
    ), ordered AS (
        SELECT *, if(p_value IS NULL, NULL, least(1.0, p_value * (
            count(p_value) OVER (
                PARTITION BY protocol_digest, data_digest, metric, metric_version)
            + 1 - row_number() OVER smallest_first))) AS corrected
        FROM tested WINDOW smallest_first AS (
            PARTITION BY protocol_digest, data_digest, metric, metric_version
            ORDER BY p_value NULLS LAST, first_method, second_method)
    ), adjusted AS (
        SELECT * EXCLUDE (corrected), if(p_value IS NULL, NULL, max(corrected) OVER (
            PARTITION BY protocol_digest, data_digest, metric, metric_version
            ORDER BY p_value NULLS LAST, first_method, second_method
            ROWS UNBOUNDED PRECEDING)) AS p_holm
        FROM ordered
    )
    SELECT *, CASE WHEN p_holm < {ALPHA} THEN
        if((mean_difference > 0) = higher_is_better, first_method, second_method) END AS better
    FROM adjusted
"""  # noqa: S608 - our own text

EQUAL_COMPUTE = """
    WITH spent AS (
        SELECT attempt_id, epoch, sum(seconds) OVER (
            PARTITION BY attempt_id ORDER BY epoch ROWS UNBOUNDED PRECEDING) AS seconds
        FROM all_epochs
    ), curve AS (
        SELECT protocol, protocol_digest, data_digest, dataset, device_name, threads, part, name
            AS metric, all_metrics.version AS metric_version, method, fold, seed, epoch, value,
            seconds, max(seconds) OVER (PARTITION BY attempt_id, part, name) AS all_seconds
        FROM runs JOIN all_metrics USING (attempt_id) JOIN spent USING (attempt_id, epoch)
        WHERE leaderboard_eligible AND NOT smoke AND len(deviations) = 0
            AND part IN ('val', 'test') AND epoch > 0 AND value IS NOT NULL
    ), budgeted AS (
        SELECT *, min(all_seconds) OVER (PARTITION BY protocol_digest, data_digest, device_name,
            threads, part, metric, metric_version) AS budget_seconds
        FROM curve
    ), runs_at_budget AS (
        SELECT * FROM budgeted WHERE seconds <= budget_seconds
        QUALIFY row_number() OVER (PARTITION BY protocol_digest, data_digest, device_name, threads,
            part, metric, metric_version, method, fold, seed ORDER BY epoch DESC) = 1
    ), seeds AS (
        SELECT * EXCLUDE (fold, epoch, value, seconds, all_seconds),
            avg(value ORDER BY fold) AS value, avg(seconds ORDER BY fold) AS seconds
        FROM runs_at_budget GROUP BY ALL
    )
    SELECT * EXCLUDE (seed, value, seconds), avg(value ORDER BY seed) AS mean,
        count(*) AS num_seeds, avg(seconds ORDER BY seed) AS used_seconds
    FROM seeds GROUP BY ALL
"""

DOCS = {
    "scores": "What the leaderboard averages: one value of each method, fold, seed and metric.",
    "comparisons": "Each two methods of one protocol and data on the seeds and folds they share: "
    "paired difference, interval, p value, and who is better after Holm's correction.",
    "equal_compute": "Mean of each metric at the last evaluation within the training time of the "
    "cheapest run; only runs of one kind of machine are set side by side.",
}

COLUMN_DOCS = {
    "first_method": "Method that is subtracted from.",
    "second_method": "Method that is subtracted.",
    "mean_difference": "First minus second, over seeds, each the mean of its shared folds.",
    "num_pairs": "Seeds that both have.",
    "num_cells": "Seeds and folds that both have.",
    "standard_error": "Of the mean difference, over seeds; NULL for one seed.",
    "p_value": "Two-sided, of the paired t test over seeds; NULL for one seed.",
    "p_holm": "Adjusted for all pairs of the same protocol, data and metric.",
    "better": "The method that is better at 5% after Holm's correction; NULL for a tie.",
    "value": "Of the metric, on the test part at the selected epoch.",
    "higher_is_better": "Which way the metric improves.",
    "part": "Where it was measured: val where there is one, for test is measured once then.",
    "budget_seconds": "Training time of the cheapest run.",
    "used_seconds": "Training time at the evaluation that counts.",
}
