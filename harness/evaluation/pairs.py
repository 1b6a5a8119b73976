"""Gallery rows that queries have listed, a different number for each query.

Shapes: B queries, P pairs, M the longest list.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from harness.evaluation.kernels import ascending, descending_order, places, repeated

_LOW = 32  # bits of a key that hold the gallery row


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
        queries = torch.arange(len(self.counts), device=self.counts.device)
        return repeated(queries, self.counts, len(self.rows))

    def where(self, kept: Bool[Tensor, " p"]) -> Listed:
        """Return those that are kept."""
        place = places(kept.unsqueeze(0))[1]
        query = self.query.index_select(0, place)
        counts = torch.bincount(query, minlength=len(self.counts))
        return Listed(counts, self.rows.index_select(0, place), self.scores.index_select(0, place))


class Ordered(NamedTuple):
    """Gallery rows of each query with their scores, nearest first, padded with scores of -inf."""

    rows: Int[Tensor, "b m"]
    scores: Float[Tensor, "b m"]

    def first(self, depth: int) -> Ordered:
        """Return the nearest `depth`."""
        return Ordered(self.rows[:, :depth], self.scores[:, :depth])


def ordered(listed: Listed) -> Ordered:
    """Order each query's rows by score, then by gallery row."""
    num_queries, device = len(listed.counts), listed.counts.device
    longest = int(torch.nn.functional.pad(listed.counts, (1, 0), value=1).max())
    shift = torch.arange(num_queries, device=device) * longest
    shift = shift - listed.counts.cumsum(0) + listed.counts
    place = repeated(shift, listed.counts, len(listed.rows))
    place += torch.arange(len(place), device=device)

    scores = _padded(listed.scores, place, -torch.inf, num_queries, longest)
    rows = _padded(listed.rows, place, 0.0, num_queries, longest)
    if scores.dtype == torch.float32:
        return unpacked(_packed(rows, scores))
    return _sorted(rows, scores)


def _padded(
    values: Shaped[Tensor, " p"],
    place: Int[Tensor, " p"],
    padding: float,
    num_rows: int,
    width: int,
) -> Shaped[Tensor, "b m"]:
    matrix = values.new_full((num_rows * width,), padding)
    return matrix.scatter_(0, place, values).view(num_rows, width)


def _sorted(rows: Int[Tensor, "b m"], scores: Float[Tensor, "b m"]) -> Ordered:
    order = descending_order(scores)
    best = scores.gather(1, order)
    tied = (best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)
    if not bool(tied.any()):
        return Ordered(rows.gather(1, order), best)
    rows, order = rows.sort(dim=1)
    best, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return Ordered(rows.gather(1, order), best)


def _packed(rows: Int[Tensor, "b m"], scores: Float[Tensor, "b m"]) -> Int[Tensor, "b m"]:
    """Return integers that ascend as float32 scores descend, and then as rows ascend."""
    return (~_mirrored(scores.view(torch.int32)).long() << _LOW) | rows


def unpacked(keys: Int[Tensor, "b m"]) -> Ordered:
    """Return scores and rows in the order of the integers that hold both."""
    keys = ascending(keys)
    scores = _mirrored((~(keys >> _LOW)).int()).view(torch.float32)
    return Ordered(keys & ((1 << _LOW) - 1), scores)


def _mirrored(bits: Int[Tensor, "b m"]) -> Int[Tensor, "b m"]:
    """Turn floats read as integers, which descend below zero, into ascending ones, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
