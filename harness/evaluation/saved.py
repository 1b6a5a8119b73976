"""Embeddings as files have them, made ready to be ranked."""

from __future__ import annotations

import torch
from torch import nn

from harness.evaluation.embedding import Embeddings
from harness.evaluation.evaluate import as_embeddings
from harness.store.embeddings import Side


def embeddings_of(
    query: Side, gallery: Side | None, *, normalize: bool, device: torch.device
) -> tuple[Embeddings, Embeddings | None]:
    """Return both sides on a device; a gallery without sample ids holds other samples.

    Args:
        query: The queries.
        gallery: None where the queries are their own.
        normalize: L2-normalise each embedding; a zero vector stays zero.
        device: Where to compute.

    Raises:
        HarnessError: Embeddings, labels or ids that nothing can be computed from.
    """

    def ready(side: Side, first_id: int) -> Embeddings:
        made = as_embeddings(side.embeddings, side.labels, side.sample_ids, first_id=first_id)
        values = made.values.to(device)
        if normalize:
            values = nn.functional.normalize(values)
        return Embeddings(values, made.labels.to(device), made.sample_ids.to(device))

    queries = ready(query, 0)
    return queries, None if gallery is None else ready(gallery, len(queries))
