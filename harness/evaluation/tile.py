"""The scan of one tile of scores: what lies above a level of each row.

Shapes: N x M tile, L groups of columns, P single pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

GROUP = 8  # scores whose maximum is compared first


class Pairs(NamedTuple):
    """Single scores: which query, which gallery row, and the score."""

    query: Int[Tensor, " p"]
    row: Int[Tensor, " p"]
    score: Float[Tensor, " p"]

    def where(self, kept: Bool[Tensor, " p"]) -> Pairs:
        """Return those that are kept."""
        place = kept.nonzero().squeeze(1)
        return Pairs(self.query[place], self.row[place], self.score[place])

    def moved(self, queries: slice, rows: slice) -> Pairs:
        """Return positions in a tile as positions in the whole."""
        return Pairs(self.query + queries.start, self.row + rows.start, self.score)


def joined(parts: list[Pairs]) -> Pairs:
    """Return all pairs of several lists."""
    return Pairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def fold(
    tile: Float[Tensor, "n m"], reduce: Callable[[Tensor, int], Tensor]
) -> Float[Tensor, "n p"]:
    """Reduce each row by groups of columns that are M / GROUP apart.

    A transposed tile is reduced as it lies in memory, which is many times faster.
    """
    if tile.stride(1) == 1:
        return reduce(tile.unflatten(1, (GROUP, -1)), 1)
    return reduce(tile.T.unflatten(0, (GROUP, -1)), 0).T


def count(
    tile: Float[Tensor, "n m"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
) -> tuple[Int[Tensor, " n"], Pairs]:
    """Count the scores above `high` in each row, and list those that may be above `low`."""
    flags = torch.empty_like(tile)  # floats: comparing into them is several times faster
    sure = fold(torch.gt(tile, high.unsqueeze(1), out=flags), torch.sum)
    maybe = fold(torch.gt(tile, low.unsqueeze(1), out=flags), torch.sum)
    return sure.sum(1).long(), _members(tile, sure != maybe, low)


def above(tile: Float[Tensor, "n m"], level: Float[Tensor, " n"]) -> Pairs:
    """Return the scores above the level of their row; groups are tested before members."""
    return _members(tile, fold(tile, torch.amax) > level.unsqueeze(1), level)


def _members(
    tile: Float[Tensor, "n m"], groups: Bool[Tensor, "n p"], level: Float[Tensor, " n"]
) -> Pairs:
    """Return the scores above the level of their row in some of the groups that `_fold` makes."""
    row, group = groups.nonzero(as_tuple=True)
    stride = tile.shape[1] // GROUP
    down, across = tile.stride()
    offsets = torch.arange(GROUP, device=tile.device) * (stride * across)
    place = (row * down + group * across).unsqueeze(1) + offsets
    in_memory = tile if tile.is_contiguous() else tile.T
    scores = in_memory.view(-1)[place]
    hit, member = (scores > level[row].unsqueeze(1)).nonzero(as_tuple=True)
    return Pairs(row[hit], group[hit] + member * stride, scores[hit, member])
