"""Ranking by tiles: for large galleries and classes of ordinary size.

The scores of two blocks are computed once and used twice when the queries are their own gallery:
a tile ranks the columns for its rows and the rows for its columns. A running threshold per query
keeps almost every score out of the candidate lists. How many items are nearer than the nearest
relevant one is a count, so the rank of the first hit is known however deep it lies.

Shapes: Q queries, G gallery, W candidates kept per query, N x M tile, P single pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.evaluation.parallel import in_parallel
from harness.evaluation.problem import Facts, Problem, blocks
from harness.evaluation.rows import rank_rows
from harness.evaluation.scores import COARSE, FORMULAS, ProductScorer
from harness.evaluation.settling import Ordered, facts_of, in_doubt, settle

_GROUP = 8  # scores whose maximum is compared first
_SPARE = 4  # candidates beyond the depth, so that near-ties at its end seldom need a second look
_SAMPLE = 1024  # gallery rows that the first thresholds come from
_DENSE = 0.02  # share of scores above the nearest relevant one at which counting beats listing
_PAIRS = 1 << 14  # a piece of work of single pairs
_MOST_IN_DOUBT = 256  # pairs per query, on average, beyond which whole rows are the better way


def suits(problem: Problem) -> bool:
    """Return whether tiles are the faster way."""
    return (
        isinstance(problem.distance, str)
        and len(problem.gallery) >= 8 * _SAMPLE
        and problem.depth(slice(None)) <= 64  # noqa: PLR2004 - lists stay small
        and float(problem.num_relevant.double().mean()) <= 16  # noqa: PLR2004 - pairs are scored
    )


def rank_tiles(problem: Problem, memory: int, *, side: int | None = None) -> list[Facts]:
    """Return facts about all queries; those that stay in doubt are ranked by whole rows.

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
    everything = torch.arange(len(problem.query), device=problem.own.device)
    if not sweep.run():
        return rank_rows(problem, everything, memory)
    first_beyond = sweep.first_beyond()
    starts = blocks(len(problem.query), sweep.side)
    found = in_parallel(
        lambda block: sweep.facts(block, first_beyond), starts, workers=problem.workers
    )
    rest = everything[~sweep.certain]
    return found + (rank_rows(problem, rest, memory) if len(rest) else [])


def _side(problem: Problem, memory: int) -> int:
    """Return the largest power of two whose tile, with what is made of it, fits."""
    largest = 1024 if problem.query.values.device.type == "cpu" else 8192
    side = largest
    while side > 64 and 32 * side * side * problem.workers > memory // 2:  # noqa: PLR2004 - a tile worth its calls
        side //= 2
    return side


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
        shape = (len(problem.query), self.width)
        device = problem.own.device
        self.scores = torch.full(shape, -torch.inf, device=device)
        self.rows = torch.zeros(shape, dtype=torch.long, device=device)
        self.threshold = torch.empty(len(problem.query), device=device)
        self.certain = torch.ones(len(problem.query), dtype=torch.bool, device=device)
        starts = [block.start for block in blocks(len(problem.query), side)]
        self.locks = {start: Lock() for start in starts}
        self.pending: dict[int, list[Pairs]] = {start: [] for start in starts}
        self.doubtful: dict[int, list[Pairs]] = {start: [] for start in starts}
        self.num_doubtful = dict.fromkeys(starts, 0)
        self.dense: set[int] = set()

    def run(self) -> bool:
        """Pass over all tiles; False means that too much is in doubt to go on."""
        workers = self.problem.workers
        in_parallel(self._sample, blocks(len(self.problem.query), self.side), workers=workers)
        in_parallel(self._pass, self._tiles(), workers=workers)
        if self._too_much_in_doubt():
            return False
        in_parallel(self._merge, self.pending, workers=workers)
        return True

    def facts(self, block: slice, first_beyond: Int[Tensor, " q"]) -> Facts:
        """Return facts about the queries of a block of which the lists leave no doubt."""
        queries = torch.arange(block.start, block.stop, device=self.rows.device)
        slack = 2 * self.scorer.error(block).unsqueeze(1)
        found = Ordered(self.rows[block], self.scores[block])
        if self.width < len(self.problem.gallery):
            reach = found.scores[:, self.depth - 1] - slack.squeeze(1)
            self.certain[block] = found.scores[:, -1] < reach
        ordered = settle(self.scorer, queries, found, in_doubt(found, slack), slack)
        certain = self.certain[block]
        ordered = Ordered(*(part[certain, : self.depth] for part in ordered))
        queries = queries[certain]
        return facts_of(self.problem, queries, ordered, first_beyond[queries])

    def first_beyond(self) -> Int[Tensor, " q"]:
        """Return the rank of each query's nearest relevant item by counting; 0 without any."""
        first = torch.where(self.problem.num_relevant > 0, self.nearer + 1, 0)
        # Wherever the nearest relevant item is better than this, the lists have it.
        listed = self.scores[:, self.depth - 1] + self.scorer.error(slice(None))
        hard = self.best_score <= listed

        def settled(parts: list[Pairs]) -> Tensor:
            query, row, score = _joined(parts)
            asked = hard[query]
            query, row = query[asked], row[asked]
            exact = self.scorer.exact(query, row, score[asked])
            best = self.best_score[query]
            return query[(exact > best) | ((exact == best) & (row < self.best_row[query]))]

        lists = [parts for parts in self.doubtful.values() if parts]
        before = in_parallel(settled, lists, workers=self.problem.workers)
        return first + torch.bincount(torch.cat([first[:0], *before]), minlength=len(first))

    # --- the parts of a pass ----------------------------------------------------------------

    def _tiles(self) -> Iterator[tuple[slice, slice]]:
        """Yield the tiles, by diagonals so that neighbours in time seldom share a block."""
        rows = list(blocks(len(self.problem.query), self.side))
        columns = list(blocks(len(self.problem.gallery), self.side))
        symmetric = self.problem.gallery is self.problem.query
        for offset in range(len(columns)):
            for index, row in enumerate(rows):
                column = index + offset
                if column < len(columns) or not symmetric:
                    yield row, columns[column % len(columns)]

    def _too_much_in_doubt(self) -> bool:
        return sum(self.num_doubtful.values()) > _MOST_IN_DOUBT * len(self.problem.query)

    def _pass(self, blocks_of_tile: tuple[slice, slice]) -> None:
        queries, rows = blocks_of_tile
        if self._too_much_in_doubt():
            return
        tile = self._tile(queries, rows)
        self._absorb(queries, rows, tile)
        if self.problem.gallery is self.problem.query and queries != rows:
            self._absorb(rows, queries, tile.T)

    def _sample(self, block: slice) -> None:
        """Set each threshold below the `width` best scores of an even sample of the gallery."""
        step = max(1, len(self.problem.gallery) // max(_SAMPLE, 2 * _GROUP * (self.width + 1)))
        sample = self.scorer.factors.gallery[::step]
        sample = sample[: len(sample) // _GROUP * _GROUP]
        scores = self.scorer.factors.query[block] @ sample.T
        peaks = _fold(scores, torch.amax)
        self.threshold[block] = -torch.inf
        if peaks.shape[1] > self.width:
            # One more than `width`, because the query itself may be in the sample.
            lowest = peaks.topk(self.width + 1).values[:, -1]
            self.threshold[block] = lowest - 2 * self.scorer.error(block)
        above = scores > self.low[block].unsqueeze(1)
        if int(torch.count_nonzero(above)) > _DENSE * above.numel():
            self.dense.add(block.start)

    def _tile(self, queries: slice, rows: slice) -> Float[Tensor, "n m"]:
        """Score a tile, and give what is left out, and the padding to whole groups, -inf."""
        height, width = queries.stop - queries.start, rows.stop - rows.start
        tile = self.scores.new_empty(-(-height // _GROUP) * _GROUP, -(-width // _GROUP) * _GROUP)
        tile[height:], tile[:, width:] = -torch.inf, -torch.inf
        factors = self.scorer.factors
        torch.mm(factors.query[queries], factors.gallery[rows].T, out=tile[:height, :width])
        own = self.problem.own[queries]
        inside = ((own >= rows.start) & (own < rows.stop)).nonzero().squeeze(1)
        tile[inside, own[inside] - rows.start] = -torch.inf
        return tile

    def _absorb(self, queries: slice, rows: slice, tile: Float[Tensor, "n m"]) -> None:
        """Take from a tile what its queries need: candidates, and how many items are nearer."""
        num_queries = queries.stop - queries.start
        threshold, low, high = (
            torch.nn.functional.pad(level[queries], (0, len(tile) - num_queries), value=torch.inf)
            for level in (self.threshold, self.low, self.high)
        )
        if queries.start in self.dense:
            nearer, near = _count(tile, low, high)
            found = _above(tile, threshold)
        else:
            found = near = _above(tile, torch.minimum(threshold, low))
            sure = found.query[found.score > high[found.query]]
            nearer = torch.bincount(sure, minlength=len(tile))
        near = near.where((near.score > low[near.query]) & (near.score <= high[near.query]))
        better = found.where(found.score > threshold[found.query])
        with self.locks[queries.start]:
            self.nearer[queries] += nearer[:num_queries]
            if len(near.query):
                self.doubtful[queries.start].append(near.moved(queries, rows))
                self.num_doubtful[queries.start] += len(near.query)
            if len(better.query):
                self._offer(queries.start, better._replace(row=better.row + rows.start))

    def _offer(self, start: int, found: Pairs) -> None:
        """Keep candidates until there are enough to be worth a merge."""
        pending = self.pending[start]
        pending.append(found)
        if sum(len(pairs.query) for pairs in pending) > self.side * self.width // 2:
            self._merge(start)

    def _merge(self, start: int) -> None:
        """Merge pending candidates of one block into its lists and raise its thresholds."""
        block = slice(start, min(start + self.side, len(self.threshold)))
        if not self.pending[start]:
            return
        new = _best(_joined(self.pending[start]), block.stop - start, self.width)
        self.pending[start] = []
        both = torch.cat([self.scores[block], new.scores], dim=1).topk(self.width)
        rows = torch.cat([self.rows[block], new.rows], dim=1)
        self.scores[block], self.rows[block] = both.values, rows.gather(1, both.indices)
        self.threshold[block] = torch.maximum(self.threshold[block], both.values[:, -1])


def _fold(
    tile: Float[Tensor, "n m"], reduce: Callable[[Tensor, int], Tensor]
) -> Float[Tensor, "n p"]:
    """Reduce each row by groups of columns that are M / _GROUP apart.

    A transposed tile is reduced as it lies in memory, which is many times faster.
    """
    if tile.stride(1) == 1:
        return reduce(tile.unflatten(1, (_GROUP, -1)), 1)
    return reduce(tile.T.unflatten(0, (_GROUP, -1)), 0).T


def _count(
    tile: Float[Tensor, "n m"], low: Float[Tensor, " n"], high: Float[Tensor, " n"]
) -> tuple[Int[Tensor, " n"], Pairs]:
    """Count the scores above `high` in each row, and list those that may be above `low`."""
    flags = torch.empty_like(tile)  # floats: comparing into them is several times faster
    sure = _fold(torch.gt(tile, high.unsqueeze(1), out=flags), torch.sum)
    maybe = _fold(torch.gt(tile, low.unsqueeze(1), out=flags), torch.sum)
    return sure.sum(1).long(), _members(tile, sure != maybe, low)


def _above(tile: Float[Tensor, "n m"], level: Float[Tensor, " n"]) -> Pairs:
    """Return the scores above the level of their row; groups are tested before members."""
    return _members(tile, _fold(tile, torch.amax) > level.unsqueeze(1), level)


def _members(
    tile: Float[Tensor, "n m"], groups: Bool[Tensor, "n p"], level: Float[Tensor, " n"]
) -> Pairs:
    """Return the scores above the level of their row in some of the groups that `_fold` makes."""
    row, group = groups.nonzero(as_tuple=True)
    stride = tile.shape[1] // _GROUP
    down, across = tile.stride()
    offsets = torch.arange(_GROUP, device=tile.device) * (stride * across)
    place = (row * down + group * across).unsqueeze(1) + offsets
    in_memory = tile if tile.is_contiguous() else tile.T
    scores = in_memory.view(-1)[place]
    hit, member = (scores > level[row].unsqueeze(1)).nonzero(as_tuple=True)
    return Pairs(row[hit], group[hit] + member * stride, scores[hit, member])


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
    parts = list(zip(query.split(_PAIRS), row.split(_PAIRS), strict=True))
    found = in_parallel(lambda pair: scorer.exact(*pair, pair[0]), parts, workers=problem.workers)
    exact = torch.cat(found) if found else scorer.exact(query, row, query)
    best = torch.full(counts.shape, -torch.inf, dtype=exact.dtype, device=exact.device)
    best = best.scatter_reduce(0, query, exact, "amax")
    nearest = exact == best[query]
    first = torch.full_like(counts, len(labels))
    first = first.scatter_reduce(0, query[nearest], row[nearest], "amin")
    return first, best.masked_fill(best == -torch.inf, torch.inf)
