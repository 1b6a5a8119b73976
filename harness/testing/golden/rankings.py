"""Rankings of the embeddings in a case, for adapters of metrics.

Shapes: Q queries, G gallery, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from harness.contracts import Distance
from harness.evaluation import Embeddings, Ranking, rank


def ranking_of(
    query: tuple[Any, Any],
    gallery: tuple[Any, Any] | None = None,
    *,
    distance: str | Distance,
    query_ids: Sequence[int] | None = None,
    gallery_ids: Sequence[int] | None = None,
) -> Ranking:
    """Rank lists of embeddings; ranks always follow their float32 values.

    Args:
        query: (Q, D) embeddings and (Q,) labels.
        gallery: The same of the gallery; None makes the queries their own.
        distance: `cosine`, `euclidean`, or a function.
        query_ids: Sample ids; None counts from 0.
        gallery_ids: None goes on counting, so that no gallery item is a query. An item with a
            query's id is hidden from that query.
    """
    queries = _items(*query, ids=query_ids, first_id=0)
    if gallery is None:
        return rank(queries, distance=distance)
    items = _items(*gallery, ids=gallery_ids, first_id=len(queries))
    return rank(queries, items, distance=distance)


def _items(values: Any, labels: Any, *, ids: Sequence[int] | None, first_id: int) -> Embeddings:  # noqa: ANN401 - JSON
    sample_ids = range(first_id, first_id + len(labels)) if ids is None else ids
    return Embeddings(
        torch.tensor(values, dtype=torch.float32),
        torch.tensor(labels),
        torch.tensor(list(sample_ids)),
    )
