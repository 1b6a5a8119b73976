"""What is to be ranked, checked once, and what each query of it needs.

Shapes: Q queries, G gallery, B queries of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contracts import Distance
from harness.errors import HarnessError, did_you_mean
from harness.evaluation.embedding import Embeddings
from harness.evaluation.scores import FORMULAS


class Facts(NamedTuple):
    """What is found out about some queries; the names are those of `Ranking`."""

    queries: Int[Tensor, " b"]
    first_hit_rank: Int[Tensor, " b"]
    hits_at_r: Int[Tensor, " b"]
    precision_sums: tuple[Float[Tensor, " b"], ...]
    neighbor_rows: Int[Tensor, "b k"]
    neighbor_scores: Float[Tensor, "b k"]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One ranking to be done.

    Attributes:
        query: The queries.
        gallery: The same object when the queries are their own gallery.
        distance: By name, or a loss's own.
        own: (Q,) gallery row with the sample id of each query; -1 where there is none.
        num_relevant: (Q,) R.
        neighbors: How many neighbours are kept.
        cutoff: Depth of an additional precision sum; None for none.
        workers: How many blocks or tiles may be in work at once.
    """

    query: Embeddings
    gallery: Embeddings
    distance: str | Distance
    own: Int[Tensor, " q"]
    num_relevant: Int[Tensor, " q"]
    neighbors: int
    cutoff: int | None = None
    workers: int = 1

    def depth(self, queries: Tensor | slice) -> int:
        """Return how many neighbours the facts about some queries need."""
        past_r = int(self.num_relevant[queries].max()) + 1
        return min(len(self.gallery), max(past_r, self.neighbors, self.cutoff or 0))


def pose(
    query: Embeddings,
    gallery: Embeddings,
    *,
    distance: str | Distance,
    neighbors: int,
    cutoff: int | None = None,
) -> Problem:
    """Check both sides and find what is relevant to whom.

    Raises:
        HarnessError: The sides do not fit together, or the distance is unknown.
    """
    sizes = query.values.shape[1], gallery.values.shape[1]
    if sizes[0] != sizes[1]:
        raise HarnessError(f"queries have {sizes[0]} dimensions, the gallery has {sizes[1]}")
    if isinstance(distance, str) and distance not in FORMULAS:
        raise HarnessError(
            f"unknown distance {distance!r}",
            hint=did_you_mean(distance, FORMULAS) or f"one of {', '.join(FORMULAS)}",
        )
    own = _own_rows(query, gallery)
    return Problem(
        query=query,
        gallery=gallery,
        distance=distance,
        own=own,
        num_relevant=_count_relevant(query, gallery, own),
        neighbors=min(neighbors, len(gallery) - int((own >= 0).any())),
        cutoff=cutoff,
    )


def _own_rows(query: Embeddings, gallery: Embeddings) -> Int[Tensor, " q"]:
    """Return the gallery row that holds each query's own sample, -1 where none does."""
    if gallery is query:
        return torch.arange(len(query), device=query.values.device)
    ids, rows = gallery.sample_ids.sort()
    place = torch.searchsorted(ids, query.sample_ids).clamp(max=len(ids) - 1)
    return torch.where(ids[place] == query.sample_ids, rows[place], -1)


def _count_relevant(
    query: Embeddings, gallery: Embeddings, own: Int[Tensor, " q"]
) -> Int[Tensor, " q"]:
    classes, counts = torch.unique(gallery.labels, return_counts=True)
    place = torch.searchsorted(classes, query.labels).clamp(max=len(classes) - 1)
    present = torch.where(classes[place] == query.labels, counts[place], 0)
    own_counts = (own >= 0) & (gallery.labels[own.clamp(min=0)] == query.labels)
    return present - own_counts.long()


def blocks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `range(count)` in order."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def lexicographic(*keys: Tensor) -> Int[Tensor, " p"]:
    """Return the order that sorts by the first key, then the second, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[torch.argsort(key[order], stable=True)]
    return order
