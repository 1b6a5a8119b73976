"""Ranking by tiles: for large galleries and classes of ordinary size.

The scores of two blocks are computed once and used twice when the queries are their own gallery:
a tile ranks the columns for its rows and the rows for its columns. A running threshold per query
keeps almost every score out of the candidate lists. How many items are nearer than the nearest
relevant one is a count, so the rank of the first hit is known however deep it lies.

Shapes: Q queries, G gallery, W candidates kept per query, N x M tile, P single pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.problem import Facts, Problem, blocks
from harness.evaluation.rows import rank_rows
from harness.evaluation.scores import COARSE, FORMULAS, ProductScorer
from harness.evaluation.settling import Ordered, facts_of, in_doubt, settle

_GROUP = 8  # scores whose maximum is compared first
_SPARE = 16  # candidates beyond the depth, so that near-ties at its end seldom need a second look
_SAMPLE = 1024  # gallery rows that the first thresholds come from
_DENSE = 0.02  # share of scores above the nearest relevant one at which counting beats listing
_MOST_IN_DOUBT = 256  # pairs per query, on average, beyond which whole rows are the better way


def suits(problem: Problem) -> bool:
    """Return whether tiles are the faster way."""
    return (
        isinstance(problem.distance, str)
        and len(problem.gallery) >= 8 * _SAMPLE
        and problem.depth(slice(None)) <= 64  # noqa: PLR2004 - lists stay small
        and float(problem.num_relevant.double().mean()) <= 16  # noqa: PLR2004 - pairs are scored
    )


def rank_tiles(problem: Problem, memory: int, *, side: int | None = None) -> Iterator[Facts]:
    """Yield facts about all queries; those that stay in doubt are ranked by whole rows.

    Args:
        problem: Its distance is one of `FORMULAS`.
        memory: Bytes to use above the embeddings.
        side: Of a tile; None chooses it.
    """
    assert isinstance(problem.distance, str), problem.distance
    scorer = ProductScorer(
        FORMULAS[problem.distance], problem.query.values, problem.gallery.values, dtype=COARSE
    )
    sweep = Sweep(problem, scorer, side or _side(problem, memory))
    everything = torch.arange(len(problem.query), device=problem.query.values.device)
    if not sweep.run():
        yield from rank_rows(problem, everything, memory)
        return
    unsettled: list[Tensor] = []
    for queries, ordered, certain in sweep.candidates():
        unsettled.append(queries[~certain])
        yield sweep.facts(queries[certain], Ordered(*(part[certain] for part in ordered)))
    rest = torch.cat(unsettled)
    if len(rest):
        yield from rank_rows(problem, rest, memory)


def _side(problem: Problem, memory: int) -> int:
    """Return the largest power of two whose tile, with what is made of it, fits."""
    largest = 1024 if problem.query.values.device.type == "cpu" else 8192
    side = largest
    while side > 64 and 32 * side * side > memory // 4:  # noqa: PLR2004 - a tile worth its calls
        side //= 2
    return side


class Pairs(NamedTuple):
    """Single scores: which query, which gallery row, and the score."""

    query: Int[Tensor, " p"]
    row: Int[Tensor, " p"]
    score: Float[Tensor, " p"]


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(torch.cat(column) for column in zip(*parts, strict=True)))


class Sweep:
    """The running state of one pass over all tiles."""

    def __init__(self, problem: Problem, scorer: ProductScorer, side: int) -> None:
        """Find the nearest relevant item of each query, and the first thresholds."""
        assert side % _GROUP == 0, side
        self.problem, self.scorer = problem, scorer
        self.side = side
        self.depth = problem.depth(slice(None))
        self.width = min(self.depth + _SPARE, len(problem.gallery))
        self.best_row, self.best_score = _nearest_relevant(problem, scorer)
        error = scorer.error(slice(None))
        self.low = (self.best_score - error).to(COARSE)
        self.high = (self.best_score + error).to(COARSE)
        self.nearer = torch.zeros_like(problem.own)
        self.doubtful: list[Pairs] = []
        self.num_doubtful = 0
        shape = (len(problem.query), self.width)
        device = problem.own.device
        self.scores = torch.full(shape, -torch.inf, device=device)
        self.rows = torch.zeros(shape, dtype=torch.long, device=device)
        self.pending: dict[int, list[Pairs]] = {}
        self.threshold = torch.empty(len(problem.query), device=device)
        self.dense: set[int] = set()
        self._sample()

    def run(self) -> bool:
        """Pass over all tiles; False means that too much is in doubt to go on."""
        symmetric = self.problem.gallery is self.problem.query
        buffer = self.scores.new_empty(self.side, self.side)
        for first in blocks(len(self.problem.query), self.side):
            for second in blocks(len(self.problem.gallery), self.side):
                if symmetric and second.start < first.start:
                    continue
                tile = self._tile(first, second, buffer)
                self._absorb(first, second, tile)
                if symmetric and second.start > first.start:
                    self._absorb(second, first, tile.T)
                if self.num_doubtful > _MOST_IN_DOUBT * len(self.problem.query):
                    return False
        for start in list(self.pending):
            self._merge(start)
        return True

    def candidates(self) -> Iterator[tuple[Tensor, Ordered, Tensor]]:
        """Yield queries, their nearest items in exact order, and which of them are certain."""
        for block in blocks(len(self.problem.query), self.side):
            queries = torch.arange(block.start, block.stop, device=self.rows.device)
            slack = 2 * self.scorer.error(block).unsqueeze(1)
            found = Ordered(self.rows[block], self.scores[block])
            reach = found.scores[:, self.depth - 1] - slack.squeeze(1)
            whole = self.width == len(self.problem.gallery)
            certain = (found.scores[:, -1] < reach) | whole
            ordered = settle(self.scorer, queries, found, in_doubt(found, slack), slack)
            yield queries, ordered.first(self.depth), certain

    def facts(self, queries: Int[Tensor, " b"], ordered: Ordered) -> Facts:
        """Return facts about some queries, with the rank of a first hit beyond the lists."""
        return facts_of(self.problem, queries, ordered, self.first_beyond[queries])

    # --- the parts of a pass ----------------------------------------------------------------

    def _sample(self) -> None:
        """Set each threshold below the `width` best scores of an even sample of the gallery."""
        size = len(self.problem.gallery)
        step = max(1, size // max(_SAMPLE, 2 * _GROUP * (self.width + 1)))
        sample = self.scorer.factors.gallery[::step]
        sample = sample[: len(sample) // _GROUP * _GROUP]
        slack = 2 * self.scorer.error(slice(None))
        for block in blocks(len(self.problem.query), self.side):
            scores = self.scorer.factors.query[block] @ sample.T
            peaks = _fold(scores, torch.amax)
            # One more than `width`, because the query itself may be in the sample.
            enough = peaks.shape[1] > self.width
            self.threshold[block] = (
                peaks.topk(self.width + 1).values[:, -1] - slack[block] if enough else -torch.inf
            )
            above = scores > self.low[block].unsqueeze(1)
            if int(torch.count_nonzero(above)) > _DENSE * above.numel():
                self.dense.add(block.start)

    def _tile(self, queries: slice, rows: slice, buffer: Tensor) -> Float[Tensor, "n m"]:
        """Score a tile, and give what is left out, and the padding to whole groups, -inf."""
        height, width = queries.stop - queries.start, rows.stop - rows.start
        tile = buffer[: -(-height // _GROUP) * _GROUP, : -(-width // _GROUP) * _GROUP]
        tile[height:], tile[:, width:] = -torch.inf, -torch.inf
        factors = self.scorer.factors
        torch.mm(factors.query[queries], factors.gallery[rows].T, out=tile[:height, :width])
        own = self.problem.own[queries]
        inside = ((own >= rows.start) & (own < rows.stop)).nonzero().squeeze(1)
        tile[inside, own[inside] - rows.start] = -torch.inf
        return tile

    def _absorb(self, queries: slice, rows: slice, tile: Float[Tensor, "n m"]) -> None:
        """Take from a tile what its queries need: candidates, and how many items are nearer."""
        tile = tile[: queries.stop - queries.start]
        threshold = self.threshold[queries]
        level = threshold
        if queries.start in self.dense:
            self._count(queries, rows, tile)
        else:
            level = torch.minimum(threshold, self.low[queries])
        found = _above(tile, level)
        if queries.start not in self.dense:
            self._list(queries, rows, found)
        better = found.score > threshold[found.query]
        if bool(better.any()):
            self._offer(queries, rows, Pairs(*(column[better] for column in found)))

    def _count(self, queries: slice, rows: slice, tile: Float[Tensor, "n m"]) -> None:
        """Count scores above the nearest relevant item's; note those that rounding may move."""
        flags = torch.empty_like(tile)  # floats: comparing into them is several times faster
        sure = _fold(torch.gt(tile, self.high[queries].unsqueeze(1), out=flags), torch.sum)
        maybe = _fold(torch.gt(tile, self.low[queries].unsqueeze(1), out=flags), torch.sum)
        self.nearer[queries] += sure.sum(1).long()
        row, group = (sure != maybe).nonzero(as_tuple=True)
        self._note(queries, rows, _members(tile, row, group))

    def _list(self, queries: slice, rows: slice, found: Pairs) -> None:
        """Do the same from a list of all scores that may be above."""
        sure = found.query[found.score > self.high[queries][found.query]]
        self.nearer[queries] += torch.bincount(sure, minlength=queries.stop - queries.start)
        self._note(queries, rows, found)

    def _note(self, queries: slice, rows: slice, found: Pairs) -> None:
        low, high = self.low[queries][found.query], self.high[queries][found.query]
        near = (found.score > low) & (found.score <= high)
        if bool(near.any()):
            query, row, score = (column[near] for column in found)
            self.doubtful.append(Pairs(query + queries.start, row + rows.start, score))
            self.num_doubtful += len(query)

    def _offer(self, queries: slice, rows: slice, found: Pairs) -> None:
        """Keep candidates until there are enough to be worth a merge."""
        pending = self.pending.setdefault(queries.start, [])
        pending.append(found._replace(row=found.row + rows.start))
        if sum(len(pairs.query) for pairs in pending) > self.side * self.width // 2:
            self._merge(queries.start)

    def _merge(self, start: int) -> None:
        """Merge pending candidates of one block into its lists and raise its thresholds."""
        block = slice(start, min(start + self.side, len(self.threshold)))
        new = _best(_joined(self.pending.pop(start)), block.stop - start, self.width)
        both = torch.cat([self.scores[block], new.scores], dim=1).topk(self.width)
        rows = torch.cat([self.rows[block], new.rows], dim=1)
        self.scores[block], self.rows[block] = both.values, rows.gather(1, both.indices)
        self.threshold[block] = torch.maximum(self.threshold[block], both.values[:, -1])

    @cached_property
    def first_beyond(self) -> Int[Tensor, " q"]:
        """Rank of each query's nearest relevant item by counting what is nearer; 0 without any."""
        first = torch.where(self.problem.num_relevant > 0, self.nearer + 1, 0)
        if not self.doubtful:
            return first
        query, row, score = _joined(self.doubtful)
        # Wherever the nearest relevant item is better than this, the lists have it.
        listed = self.scores[:, self.depth - 1] + self.scorer.error(slice(None))
        hard = self.best_score[query] <= listed[query]
        query, row = query[hard], row[hard]
        exact = self.scorer.exact(query, row, score[hard])
        best = self.best_score[query]
        before = (exact > best) | ((exact == best) & (row < self.best_row[query]))
        return first + torch.bincount(query[before], minlength=len(first))


def _fold(
    tile: Float[Tensor, "n m"], reduce: Callable[[Tensor, int], Tensor]
) -> Float[Tensor, "n p"]:
    """Reduce each row by groups of columns that are M / _GROUP apart.

    A transposed tile is reduced as it lies in memory, which is many times faster.
    """
    if tile.stride(1) == 1:
        return reduce(tile.unflatten(1, (_GROUP, -1)), 1)
    return reduce(tile.T.unflatten(0, (_GROUP, -1)), 0).T


def _above(tile: Float[Tensor, "n m"], level: Float[Tensor, " n"]) -> Pairs:
    """Return the scores above the level of their row; groups are tested before members."""
    peaks = _fold(tile, torch.amax)
    found = _members(tile, *(peaks > level.unsqueeze(1)).nonzero(as_tuple=True))
    above = found.score > level[found.query]
    return Pairs(*(column[above] for column in found))


def _members(tile: Float[Tensor, "n m"], row: Tensor, group: Tensor) -> Pairs:
    """Return all scores of some groups."""
    stride = tile.shape[1] // _GROUP
    members = torch.arange(_GROUP, device=tile.device) * stride
    column = (group.unsqueeze(1) + members).flatten()
    row = row.repeat_interleave(_GROUP)
    return Pairs(row, column, tile[row, column])


def _best(found: Pairs, num_queries: int, width: int) -> Ordered:
    """Return the `width` best scores of each query as a matrix, padded with -inf."""
    order = torch.argsort(found.score, descending=True)
    order = order[torch.argsort(found.query[order], stable=True)]
    query, row, score = (column[order] for column in found)
    ends = torch.bincount(query, minlength=num_queries).cumsum(0)
    starts = torch.nn.functional.pad(ends[:-1], (1, 0))
    place = torch.arange(len(query), device=query.device) - starts[query]
    kept = place < width
    scores = score.new_full((num_queries, width), -torch.inf)
    rows = row.new_zeros((num_queries, width))
    scores[query[kept], place[kept]] = score[kept]
    rows[query[kept], place[kept]] = row[kept]
    return Ordered(rows, scores)


def _nearest_relevant(
    problem: Problem, scorer: ProductScorer
) -> tuple[Int[Tensor, " q"], Float[Tensor, " q"]]:
    """Return row and exact score of each query's nearest relevant item; inf without any."""
    labels, by_label = problem.gallery.labels.sort(stable=True)
    starts = torch.searchsorted(labels, problem.query.labels)
    counts = torch.searchsorted(labels, problem.query.labels, right=True) - starts
    query = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    offset = torch.arange(len(query), device=counts.device) - (counts.cumsum(0) - counts)[query]
    row = by_label[starts[query] + offset]
    other = row != problem.own[query]
    query, row = query[other], row[other]
    exact = scorer.exact(query, row, query)
    best = torch.full(counts.shape, -torch.inf, dtype=exact.dtype, device=exact.device)
    best = best.scatter_reduce(0, query, exact, "amax")
    nearest = exact == best[query]
    first = torch.full_like(counts, len(labels))
    first = first.scatter_reduce(0, query[nearest], row[nearest], "amin")
    return first, best.masked_fill(best == -torch.inf, torch.inf)
