"""Metrics of saved embeddings in one call: no protocol, no training, no GPU.

Shapes: Q queries, G gallery, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from harness.contracts import TORCH, Backend, Distance
from harness.errors import HarnessError
from harness.evaluation import retrieval
from harness.evaluation.embedding import Embeddings
from harness.evaluation.neighbours import rank
from harness.evaluation.ranking import Ranking
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
    query = as_embeddings(embeddings, labels)
    other = None
    if gallery is not None and gallery_labels is not None:
        other = as_embeddings(gallery, gallery_labels, first_id=len(query))
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
    functions = _functions(metrics)
    ranking = rank(query, gallery, distance=distance, memory=memory, backend=_backend(backend))
    return Evaluation({name: metric(ranking) for name, metric in functions.items()}, ranking)


def _functions(names: Sequence[str]) -> dict[str, Callable[[Ranking], float]]:
    """Return the function of each metric; plugins are loaded only for names that need them."""
    if isinstance(names, str):
        raise HarnessError(f"metrics must be a sequence of names, got {names!r}")
    if not names:
        raise HarnessError("no metric is asked for", hint=f"such as {', '.join(DEFAULT_METRICS)}")
    own = {name: _own_metric(name) for name in names}
    return {name: function or _registered_metric(name) for name, function in own.items()}


def _own_metric(name: str) -> Callable[[Ranking], float] | None:
    """Return what the registry would, for the core's own retrieval metrics."""
    if name in retrieval.PLAIN:
        return getattr(retrieval, name)
    stem, _, k = name.rpartition("_")
    if f"{stem}_k" in retrieval.AT_K and k.isdecimal() and int(k) > 0:
        return partial(getattr(retrieval, f"{stem}_k"), k=int(k))
    return None


def _registered_metric(name: str) -> Callable[[Ranking], float]:
    from harness.registry import discover

    entry, params = discover().metric(name)
    return entry.card.build(params, None)


def _backend(name: str) -> Backend:
    if name == TORCH.name:
        return TORCH
    from harness.registry import discover

    card = discover().get("backend", name).card
    return card.build(card.params(), None)


def as_embeddings(
    values: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    sample_ids: ArrayLike | Tensor | None = None,
    *,
    first_id: int = 0,
) -> Embeddings:
    """Return one side of a retrieval: (N, D) as float32, (N,) labels and ids as int64.

    Args:
        values: Of any number type and memory layout.
        labels: Integers.
        sample_ids: Integers, no two alike; None numbers the rows from `first_id`.
        first_id: See `sample_ids`.

    Raises:
        HarnessError: Something is no number, not finite, or does not fit.
    """
    rows = _tensor(values, "embeddings")
    if not rows.is_floating_point():
        rows = rows.double()
    classes = _integers(labels, "labels").to(rows.device)
    if sample_ids is None:
        ids = torch.arange(first_id, first_id + len(classes), device=rows.device)
    else:
        ids = _integers(sample_ids, "sample ids").to(rows.device)
    return Embeddings(rows.float().contiguous(), classes, ids)


def _integers(values: ArrayLike | Tensor, name: str) -> Tensor:
    found = _tensor(values, name)
    if found.numel() and (
        found.is_floating_point() or found.is_complex() or found.dtype == torch.bool
    ):
        raise HarnessError(f"{name} must be integers, got {found.dtype}")
    return found.long()


def _tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    """Return values as a tensor without gradient; an array is copied only if torch needs it."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise HarnessError(f"{name} must be numbers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise HarnessError(f"{name} go up to {array.max()}, beyond 64-bit signed integers")
    # torch knows neither unsigned nor long types, nor another byte order, nor read-only memory
    kind = np.dtype(np.int64) if array.dtype.kind == "u" else array.dtype.newbyteorder("=")
    kind = min(kind, np.dtype(np.float64), key=lambda known: known.itemsize)
    return torch.from_numpy(np.require(array, kind, ["C_CONTIGUOUS", "WRITEABLE"]))
