"""Metrics of saved embeddings in one call: no protocol, no training, no GPU.

Shapes: Q queries, G gallery, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from harness.contracts import Backend, Distance
from harness.errors import HarnessError
from harness.evaluation.embedding import Embeddings
from harness.evaluation.neighbours import rank
from harness.evaluation.ranking import Ranking
from harness.registry import Registry, discover
from harness.settings import DEFAULT_MEMORY

DEFAULT_METRICS = ("map_at_r", "r_precision", "precision_at_1", "recall_at_10")


class Evaluation(dict[str, float]):
    """Metric name to value, with the ranking the values were computed from.

    Attributes:
        ranking: Per-query facts, neighbours and the number of lone queries.
    """

    def __init__(self, values: Mapping[str, float], ranking: Ranking) -> None:
        """Keep both."""
        super().__init__(values)
        self.ranking = ranking


def evaluate(  # noqa: PLR0913 - one call with all of it
    embeddings: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    gallery: ArrayLike | Tensor | None = None,
    gallery_labels: ArrayLike | Tensor | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    distance: str | Distance = "cosine",
    memory: int = DEFAULT_MEMORY,
    backend: str = "torch",
) -> Evaluation:
    """Return the metrics of embeddings, of any number type and memory layout.

    Embeddings are ranked as float32, labels compared as int64.

    Args:
        embeddings: (Q, D) queries. Cosine distance needs no normalisation.
        labels: (Q,) integer class ids, any values.
        gallery: (G, D); None makes the queries their own gallery, each left out of its own
            neighbours. A gallery that is given holds other images: nothing is left out.
        gallery_labels: (G,); given exactly when `gallery` is.
        metrics: Registered names, `recall_at_10` for k = 10.
        distance: `cosine`, `euclidean`, or a function (Q, D), (G, D) -> (Q, G).
        memory: Bytes to use above the embeddings; it changes the speed and no result.
        backend: Registered name, `torch` or `faiss`; it changes the speed and no result.

    Raises:
        HarnessError: Input that no metric can be computed from, or an unknown metric.

    >>> scores = evaluate([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]], [7, 7, 8])
    >>> scores["precision_at_1"], scores.ranking.num_lone
    (1.0, 1)
    """
    if (gallery is None) != (gallery_labels is None):
        raise HarnessError("gallery and gallery_labels must be given together")
    query = _embeddings(embeddings, labels, first_id=0)
    other = None
    if gallery is not None and gallery_labels is not None:
        other = _embeddings(gallery, gallery_labels, first_id=len(query))
    return evaluate_embeddings(
        query, other, metrics=metrics, distance=distance, memory=memory, backend=backend
    )


def evaluate_embeddings(
    query: Embeddings,
    gallery: Embeddings | None = None,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    distance: str | Distance = "cosine",
    memory: int = DEFAULT_MEMORY,
    backend: str = "torch",
) -> Evaluation:
    """Return the metrics of embeddings whose samples have ids; see `evaluate`.

    An item of the gallery with the sample id of a query is never a neighbour of that query.

    Raises:
        HarnessError: As `evaluate`.
    """
    registry = discover()
    functions = _functions(metrics, registry)
    card = registry.get("backend", backend).card
    chosen: Backend = card.build(card.params(), None)
    ranking = rank(query, gallery, distance=distance, memory=memory, backend=chosen)
    return Evaluation({name: metric(ranking) for name, metric in functions.items()}, ranking)


def _functions(names: Sequence[str], registry: Registry) -> dict[str, Any]:
    """Return what each metric builds."""
    if isinstance(names, str):
        raise HarnessError(f"metrics must be a sequence of names, got {names!r}")
    if not names:
        raise HarnessError("no metric is asked for", hint=f"such as {', '.join(DEFAULT_METRICS)}")
    found = {name: registry.metric(name) for name in names}
    return {name: entry.card.build(params, None) for name, (entry, params) in found.items()}


def _embeddings(
    values: ArrayLike | Tensor, labels: ArrayLike | Tensor, *, first_id: int
) -> Embeddings:
    rows = _tensor(values, "embeddings")
    if not rows.is_floating_point():
        rows = rows.double()
    ids = _tensor(labels, "labels")
    if ids.numel() and (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool):
        raise HarnessError(f"labels must be integers, got {ids.dtype}")
    return Embeddings(
        rows.float().contiguous(),
        ids.long().to(rows.device),
        torch.arange(first_id, first_id + len(ids), device=rows.device),
    )


def _tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    """Return values as a tensor without gradient; an array is copied only if torch needs it."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise HarnessError(f"{name} must be numbers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise HarnessError(f"{name} go up to {array.max()}, beyond 64-bit signed integers")
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    return torch.as_tensor(np.ascontiguousarray(array))
