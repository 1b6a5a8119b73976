"""One row per query, for the store: whatever the printed means can be recomputed from.

Shapes: Q queries, K stored neighbours.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from harness.evaluation.ranking import Ranking


def query_rows(ranking: Ranking) -> dict[str, NDArray[Any]]:
    """Return the columns of the `queries` table, one entry per query, in query order.

    `neighbors` and `neighbor_distances` are (Q, K). Outcomes of lone queries (`num_relevant` 0)
    are 0 here and NULL in the store, so that SQL's `avg` leaves them out like every metric.
    """
    first = ranking.first_hit_rank.numpy()
    return {
        "sample_id": ranking.sample_ids.numpy(),
        "label": ranking.labels.numpy(),
        "num_relevant": ranking.num_relevant.numpy(),
        "first_hit_rank": first,
        "ap_at_r": ranking.average_precision_at_r.numpy(),
        "r_precision": ranking.r_precision.numpy(),
        "hit_at_1": first == 1,
        "neighbors": ranking.neighbor_ids.numpy(),
        "neighbor_distances": ranking.neighbor_distances.numpy(),
    }
