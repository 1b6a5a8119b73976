"""What is to be ranked, checked once, and what each query of it needs.

Shapes: Q queries, G gallery, B queries of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contracts import Distance
from harness.errors import HarnessError, did_you_mean
from harness.evaluation.embedding import Embeddings
from harness.evaluation.products import FORMULAS


class Facts(NamedTuple):
    """What is found out about some queries; the names are those of `Ranking`."""

    queries: Int[Tensor, " b"]
    first_hit_rank: Int[Tensor, " b"]
    hits_at_r: Int[Tensor, " b"]
    precision_sums: tuple[Float[Tensor, " b"], ...]
    neighbor_rows: Int[Tensor, "b k"]
    neighbor_scores: Float[Tensor, "b k"]


class Classes(NamedTuple):
    """Gallery rows by class: sorted labels, and the row of each."""

    labels: Int[Tensor, " g"]
    rows: Int[Tensor, " g"]

    def members(self, labels: Int[Tensor, " b"]) -> tuple[Int[Tensor, " b"], Int[Tensor, " p"]]:
        """Return how many rows each of some classes has, and the rows, class after class."""
        starts = torch.searchsorted(self.labels, labels)
        counts = torch.searchsorted(self.labels, labels, right=True) - starts
        shift = (starts - counts.cumsum(0) + counts).repeat_interleave(counts)
        return counts, self.rows[shift + torch.arange(len(shift), device=shift.device)]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One ranking to be done.

    Attributes:
        query: The queries.
        gallery: The same object when the queries are their own gallery.
        distance: By name, or a loss's own.
        own: (Q,) gallery row with the sample id of each query; -1 where there is none.
        classes: Gallery rows by class.
        num_relevant: (Q,) R.
        neighbors: How many neighbours are kept.
        cutoff: Depth of an additional precision sum; None for none.
        workers: How many blocks or tiles may be in work at once.
    """

    query: Embeddings
    gallery: Embeddings
    distance: str | Distance
    own: Int[Tensor, " q"]
    classes: Classes
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
    classes = Classes(*gallery.labels.sort(stable=True))
    return Problem(
        query=query,
        gallery=gallery,
        distance=distance,
        own=own,
        classes=classes,
        num_relevant=_count_relevant(query, gallery, own, classes),
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
    query: Embeddings, gallery: Embeddings, own: Int[Tensor, " q"], classes: Classes
) -> Int[Tensor, " q"]:
    ends = torch.searchsorted(classes.labels, query.labels, right=True)
    present = ends - torch.searchsorted(classes.labels, query.labels)
    own_counts = (own >= 0) & (gallery.labels[own.clamp(min=0)] == query.labels)
    return present - own_counts.long()
