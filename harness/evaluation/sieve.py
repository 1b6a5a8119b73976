"""From a block of fast scores to the few pairs that exact scores have to decide.

Rounding to a number type keeps order: whatever may be at or above a level has a rounded score at
or above the rounded level. So only the error before that rounding has to be bounded.

Shapes: B queries, N rows of a block, C columns (a multiple of 64), P pairs. Columns that cannot
be candidates hold -inf.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.kernels import kth_largest_peak, list_at_least
from harness.evaluation.pairs import Listed

_WIDEST = 16  # columns of a group
_GROUPS = 8  # times the depth: with so many groups, the level is nearly as high as it can be


@dataclass(frozen=True, slots=True, eq=False)
class Sieve:
    """Fast scores of some queries.

    Attributes:
        scores: A block, which may have other queries as well.
        error: Of each query.
        place: The row of each query in the block; None where it is the block as it is.
    """

    scores: Float[Tensor, "n c"]
    error: Float[Tensor, " b"]
    place: Int[Tensor, " b"] | None = None

    def part(self, queries: Int[Tensor, " s"]) -> Sieve:
        """Return some of the queries."""
        place = queries if self.place is None else self.place[queries]
        return Sieve(self.scores, self.error[queries], place)

    def at(self, query: Int[Tensor, " p"], column: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Return single scores."""
        return self.scores[query if self.place is None else self.place[query], column]

    def nearest(self, depth: int, *, most: float) -> Listed | None:
        """Return at least all items that may be among the nearest `depth`, not in order.

        At least `depth` scores are at or above the `depth`-largest peak of groups of columns. None
        when more than `most` items may be.
        """
        scores, group = self._rows(), 1
        while group < _WIDEST and scores.shape[1] >= 2 * group * _GROUPS * depth:
            group *= 2
        top = kth_largest_peak(scores, depth, group)
        return self.at_or_above(reach(top, self.error), most=most)

    def at_or_above(self, level: Float[Tensor, " b"], *, most: float) -> Listed | None:
        """Return the items of each query at or above its level, or None for more than `most`."""
        scores = self._rows()
        lowest = torch.finfo(level.dtype).min
        found = list_at_least(scores, level.clamp(min=lowest), most=most)
        return None if found is None else Listed(*found)

    def _rows(self) -> Float[Tensor, "b c"]:
        return self.scores if self.place is None else self.scores.index_select(0, self.place)


def reach(scores: Float[Tensor, " b"], error: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return the lowest fast score of an item that may be as near as one with a given fast score.

    That score may be too high by the error and by its own rounding, and the item's too low.
    """
    exact = scores.double()
    rounding = torch.finfo(scores.dtype).eps * exact.abs()
    return (exact - rounding - 2 * error).to(scores.dtype)
