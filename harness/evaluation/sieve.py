"""From a block of fast scores to the few pairs that exact scores have to decide.

Columns are divided into groups, and only groups whose largest score is high enough are searched.
Rounding to a number type keeps order: whatever may be at or above a level has a rounded score at
or above the rounded level. So only the error before that rounding has to be bounded.

Shapes: B queries, C columns (a multiple of 64), L groups, P pairs. Columns that cannot be
candidates hold -inf.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.kernels import at_least, kth_largest, places
from harness.evaluation.pairs import Listed
from harness.evaluation.scores import COARSE

_WIDEST = 16  # columns of a group
_MANY_NEGATIVE = 64  # one group in so many
_GROUPS = 8  # times the depth: with so many groups, the level is nearly as high as it can be


@dataclass(frozen=True, slots=True, eq=False)
class Sieve:
    """Fast scores of some queries, and the largest of each group of columns, L apart.

    Attributes:
        scores: A block, which may have other queries as well.
        place: The row of each query in the block.
        peaks: Of each query, in float32 or finer: kernels know no shorter type.
        error: Of each query.
    """

    scores: Float[Tensor, "n c"]
    place: Int[Tensor, " b"]
    peaks: Float[Tensor, "b l"]
    error: Float[Tensor, " b"]

    def part(self, queries: Int[Tensor, " s"]) -> Sieve:
        """Return some of the queries."""
        return Sieve(self.scores, self.place[queries], self.peaks[queries], self.error[queries])

    def at(self, query: Int[Tensor, " p"], column: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Return single scores."""
        return self.scores[self.place[query], column]

    def nearest(self, depth: int, *, most: float) -> Listed | None:
        """Return at least all items that may be among the nearest `depth`, not in order.

        At least `depth` scores are at or above the `depth`-largest of the peaks. None when more
        than `most` items may be.
        """
        top = kth_largest(self.peaks, depth).to(self.scores.dtype)
        return self.at_or_above(reach(top, self.error), most=most)

    def at_or_above(self, level: Float[Tensor, " b"], *, most: float) -> Listed | None:
        """Return the items of each query at or above its level, or None for more than `most`."""
        level = level.clamp(min=torch.finfo(level.dtype).min).to(self.peaks.dtype)
        query, peak = places(at_least(self.peaks, level))
        if len(query) > most:
            return None
        columns, stride = self.scores.shape[1], self.peaks.shape[1]
        offsets = torch.arange(columns // stride, device=peak.device) * stride
        first = self.place.index_select(0, query) * columns + peak
        members = self.scores.view(-1).index_select(0, (first.unsqueeze(1) + offsets).view(-1))
        members = members.view(len(first), -1).to(level.dtype)
        group, member = places(at_least(members, level.index_select(0, query)))
        if len(group) > most:
            return None
        counts = torch.bincount(query.index_select(0, group), minlength=len(level))
        rows = peak.index_select(0, group) + member * stride
        return Listed(
            counts, rows, members.view(-1).index_select(0, group * len(offsets) + member)
        )


def sieve_of(scores: Float[Tensor, "b c"], error: Float[Tensor, " b"], *, depth: int) -> Sieve:
    """Group the columns of scores, suitably for a depth."""
    group = 1
    while group < _WIDEST and scores.shape[1] >= 2 * group * _GROUPS * depth:
        group *= 2
    peaks = scores if group == 1 else _peaks(scores.unflatten(1, (group, -1)))
    place = torch.arange(len(scores), device=scores.device)
    return Sieve(scores, place, peaks.to(torch.promote_types(peaks.dtype, COARSE)), error)


def _peaks(groups: Float[Tensor, "b g l"]) -> Float[Tensor, "b l"]:
    """Return the largest score of each group.

    Read as integers, bfloat16 is searched several times faster, but ascends from zero up only:
    groups that are negative throughout are searched again.
    """
    if groups.dtype != torch.bfloat16:
        return groups.amax(1)
    peaks = groups.view(torch.int16).amax(1)
    query, peak = places(peaks < 0)
    if _MANY_NEGATIVE * len(query) > peaks.numel():
        return groups.amax(1)
    peaks = peaks.view(torch.bfloat16)
    peaks[query, peak] = groups[query, :, peak].amax(1)
    return peaks


def reach(scores: Float[Tensor, " b"], error: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return the lowest fast score of an item that may be as near as one with a given fast score.

    That score may be too high by the error and by its own rounding, and the item's too low.
    """
    exact = scores.double()
    rounding = torch.finfo(scores.dtype).eps * exact.abs()
    return (exact - rounding - 2 * error).to(scores.dtype)
