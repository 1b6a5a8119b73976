"""Ensembles in SQL: the models of all folds of one seed, one by one and as one."""

from __future__ import annotations

ENSEMBLES = """
    WITH joined AS (
        SELECT * FROM all_ensembles
        QUALIFY row_number() OVER (
            PARTITION BY protocol_digest, data_digest, method, seed, kind, metric
            ORDER BY computed_at DESC, ensemble_id DESC
        ) = 1
    ), members AS (
        SELECT ensemble_id, metric, num_members, data_digest, unnest(run_keys) AS run_key
        FROM joined
    ), single AS (
        SELECT ensemble_id, members.metric, any_value(version) AS metric_version,
            any_value(embedding_dim) AS embedding_dim, avg(value ORDER BY fold) AS value
        FROM members JOIN runs USING (run_key, data_digest) JOIN all_metrics AS found
            ON found.attempt_id = runs.attempt_id AND found.name = members.metric
        WHERE part = 'test' AND selected AND value IS NOT NULL
        GROUP BY ensemble_id, members.metric, num_members HAVING count(*) = num_members
    )
    SELECT * FROM joined
    UNION ALL
    SELECT joined.* REPLACE (
        'separated' AS kind, NULL::VARCHAR AS distance, single.embedding_dim AS embedding_dim,
        single.metric_version AS metric_version, single.value AS value)
    FROM joined JOIN single USING (ensemble_id, metric)
"""

DOC = (
    "Test values of the models of all folds of one seed: `separated` is the mean of the single "
    "models, `concatenated` ranks by all of them at once. No rehearsals, no deviations."
)
COLUMN_DOCS = {
    "kind": "separated or concatenated; only the first is a number of one model.",
    "embedding_dim": "D of a single model, or of the whole.",
    "distance": "What ranked the whole; NULL for single models, each has its run's.",
}
