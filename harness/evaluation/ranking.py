"""What a ranking tells about each query; every metric is a function of it.

Shapes: Q queries, K stored neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.evaluation.embedding import Embeddings
from harness.evaluation.kmeans import kmeans


@dataclass(frozen=True, eq=False)
class Ranking:
    """Exact retrieval facts per query, on the CPU, in the order of the queries.

    R is the number of gallery items of a query's class, the query itself left out. Ranks count
    from 1. Equal distances are ordered by gallery row. A lone query has R = 0; its entries are 0
    and every mean leaves it out.

    Attributes:
        query: What was ranked for.
        gallery: What was ranked; the same object as `query` when the set is its own gallery.
        num_relevant: (Q,) R.
        first_hit_rank: (Q,) rank of the nearest item of the query's class, however deep; 0 if
            there is none.
        precision_sum_at_r: (Q,) sum over the hits among the first R of precision at the hit.
        precision_sum_past_r: (Q,) the same among the first R + 1.
        hits_at_r: (Q,) hits among the first R.
        neighbor_ids: (Q, K) sample ids, nearest first; K is less than was asked for only where
            the gallery has no more.
        neighbor_distances: (Q, K) float32.
        distance: `cosine`, `euclidean` or the name of the loss's own.
        backend: Name of what found the neighbours.
        precision_sum: Cut-off -> the same sum among that many items, (Q,); ranks anew.
    """

    query: Embeddings
    gallery: Embeddings
    num_relevant: Int[Tensor, " q"]
    first_hit_rank: Int[Tensor, " q"]
    precision_sum_at_r: Float[Tensor, " q"]
    precision_sum_past_r: Float[Tensor, " q"]
    hits_at_r: Int[Tensor, " q"]
    neighbor_ids: Int[Tensor, "q k"]
    neighbor_distances: Float[Tensor, "q k"]
    distance: str
    backend: str
    precision_sum: Callable[[int], Tensor]

    @property
    def sample_ids(self) -> Int[Tensor, " q"]:
        """Sample ids of the queries."""
        return self.query.sample_ids.cpu()

    @property
    def labels(self) -> Int[Tensor, " q"]:
        """Class ids of the queries."""
        return self.query.labels.cpu()

    @property
    def has_relevant(self) -> Bool[Tensor, " q"]:
        """Which queries are not lone."""
        return self.num_relevant > 0

    @property
    def num_queries(self) -> int:
        """Number of queries, lone ones included."""
        return len(self.num_relevant)

    @property
    def num_lone(self) -> int:
        """Number of queries without a relevant item, which no mean counts."""
        return int((~self.has_relevant).sum())

    @property
    def average_precision_at_r(self) -> Float[Tensor, " q"]:
        """Per-query term of MAP@R, in [0, 1]; 0 for a lone query."""
        return self.precision_sum_at_r / self.num_relevant.clamp(min=1)

    @property
    def r_precision(self) -> Float[Tensor, " q"]:
        """Hits among the first R over R, in [0, 1]; 0 for a lone query."""
        return self.hits_at_r.to(torch.float64) / self.num_relevant.clamp(min=1)

    @cached_property
    def clusters(self) -> Int[Tensor, " q"]:
        """Cluster of each query: k-means with as many clusters as the queries have classes."""
        return kmeans(self.query.values, len(torch.unique(self.query.labels)))
