"""Gallery rows that queries have listed, a different number for each query.

Shapes: B queries, P pairs, M the longest list.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Listed(NamedTuple):
    """Pairs of a query and a gallery row, one query after the other.

    Attributes:
        counts: How many rows each query lists.
        rows: The gallery rows of the first query, then those of the second, and so on.
        scores: Of these pairs.
    """

    counts: Int[Tensor, " b"]
    rows: Int[Tensor, " p"]
    scores: Float[Tensor, " p"]

    @staticmethod
    def of(
        query: Int[Tensor, " p"],
        rows: Int[Tensor, " p"],
        scores: Float[Tensor, " p"],
        num_queries: int,
    ) -> Listed:
        """Return pairs that come in any order."""
        order = torch.argsort(query)
        counts = torch.bincount(query, minlength=num_queries)
        return Listed(counts, rows[order], scores[order])

    @property
    def query(self) -> Int[Tensor, " p"]:
        """Which query, from 0, each pair belongs to."""
        return torch.arange(len(self.counts), device=self.counts.device).repeat_interleave(
            self.counts, output_size=len(self.rows)
        )

    def where(self, kept: Bool[Tensor, " p"]) -> Listed:
        """Return those that are kept."""
        place = kept.nonzero().squeeze(1)
        counts = torch.bincount(self.query[place], minlength=len(self.counts))
        return Listed(counts, self.rows[place], self.scores[place])


class Ordered(NamedTuple):
    """Gallery rows of each query with their scores, nearest first, padded with scores of -inf."""

    rows: Int[Tensor, "b m"]
    scores: Float[Tensor, "b m"]

    def first(self, depth: int) -> Ordered:
        """Return the nearest `depth`."""
        return Ordered(self.rows[:, :depth], self.scores[:, :depth])


def ordered(listed: Listed) -> Ordered:
    """Order each query's rows by score, then by gallery row."""
    num_queries = len(listed.counts)
    longest = int(torch.nn.functional.pad(listed.counts, (1, 0), value=1).max())
    starts = listed.counts.cumsum(0) - listed.counts
    shift = torch.arange(num_queries, device=starts.device) * longest - starts
    place = shift.repeat_interleave(listed.counts, output_size=len(listed.rows))
    place += torch.arange(len(place), device=place.device)
    rows = listed.rows.new_zeros(num_queries * longest)
    scores = listed.scores.new_full((num_queries * longest,), -torch.inf)
    rows[place], scores[place] = listed.rows, listed.scores
    return _sorted(rows.view(num_queries, longest), scores.view(num_queries, longest))


def _sorted(rows: Int[Tensor, "b m"], scores: Float[Tensor, "b m"]) -> Ordered:
    best, order = scores.sort(dim=1, descending=True)
    tied = (best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)
    if not bool(tied.any()):
        return Ordered(rows.gather(1, order), best)
    rows, order = rows.sort(dim=1)
    best, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Ordered(rows.gather(1, order), best)
