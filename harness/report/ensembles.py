"""The models of all folds of one seed, one by one and as one: means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from harness.report.outcomes import literal
from harness.report.statistics import student_interval
from harness.store.database import Table, query
from harness.store.writer import Store

_HALF = "half_width"  # of the 95% Student-t interval over seeds
COLUMNS = (
    *("protocol", "digest", "method", "metric", "num_models", "num_seeds"),
    *("separated", f"separated_{_HALF}", "concatenated", f"concatenated_{_HALF}"),
)


def ensemble_table(
    store: Store, *, protocol: str | None = None, metric: str | None = None
) -> Table:
    """Return one row per protocol and method, best ensemble first.

    Only seeds that have both values count, so that the two means are over the same runs.

    Args:
        store: To read.
        protocol: Only of this name, or of a digest that begins like this.
        metric: Which; None takes the first of each protocol.
    """
    found = query(
        store,
        f"""
        WITH headlines AS (SELECT DISTINCT protocol_digest, headline_metric FROM runs)
        SELECT protocol, protocol_digest, data_digest, method, metric, num_members,
            any_value(higher_is_better),
            list(seeds.separated ORDER BY seed), list(seeds.concatenated ORDER BY seed)
        FROM (
            SELECT protocol, protocol_digest, data_digest, method, metric, num_members,
                higher_is_better, seed,
                any_value(value) FILTER (kind = 'separated') AS separated,
                any_value(value) FILTER (kind = 'concatenated') AS concatenated
            FROM ensembles GROUP BY ALL
        ) AS seeds JOIN headlines USING (protocol_digest)
        WHERE separated IS NOT NULL AND concatenated IS NOT NULL
            AND metric = coalesce({literal(metric)}, headline_metric)
            AND coalesce(protocol = {literal(protocol)}
                OR starts_with(protocol_digest, {literal(protocol)}), true)
        GROUP BY protocol, protocol_digest, data_digest, method, metric, num_members
        ORDER BY protocol, protocol_digest, data_digest,
            if(any_value(higher_is_better), -1, 1) * avg(seeds.concatenated ORDER BY seed), method
        """,  # noqa: S608 - literals are quoted
    )
    return Table(COLUMNS, tuple(_row(*row) for row in found.rows))


def _row(*row: Any) -> tuple[object, ...]:  # noqa: ANN401 - SQL
    protocol, digest, _, method, metric, num_models, _, separated, concatenated = row
    who = (protocol, digest[:8], method, metric, num_models, len(separated))
    return (*who, *_mean_and_half(separated), *_mean_and_half(concatenated))


def _mean_and_half(values: Sequence[float]) -> tuple[float, float | None]:
    interval = student_interval(values)
    return mean(values), (interval.high - interval.low) / 2 if interval else None
