"""Ranking by tiles: for large galleries and classes of ordinary size.

The scores of two blocks are computed once and used twice when the queries are their own gallery:
a tile ranks the columns for its rows and the rows for its columns. A running threshold per query
keeps almost every score out of the candidate lists. How many items are nearer than the nearest
relevant one is a count, so the rank of the first hit is known however deep it lies.

Shapes: Q queries, G gallery, W candidates kept per query, N x M tile, P single pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.pairs import Listed, Ordered, ordered
from harness.evaluation.parallel import blocks, in_parallel
from harness.evaluation.problem import Facts, Problem
from harness.evaluation.products import FORMULAS, ProductScorer
from harness.evaluation.rows import rank_rows
from harness.evaluation.scores import COARSE
from harness.evaluation.settling import facts_of, settle
from harness.evaluation.tile import GROUP, Pairs, above, count, fold, joined

_SPARE = 4  # candidates beyond the depth, so that near-ties at its end seldom need a second look
_SAMPLE = 1024  # gallery rows that the first thresholds come from
_DENSE = 0.02  # share of scores above the nearest relevant one at which counting beats listing
_QUERIES = 1024  # whose relevant items are scored together
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
    sides = problem.query.values, problem.gallery.values
    formula, workers = FORMULAS[problem.distance], problem.workers
    scorer = ProductScorer(formula, *sides, memory=memory, workers=workers)
    sweep = Sweep(problem, scorer, side or _side(problem, memory))
    everything = torch.arange(len(problem.query), device=problem.own.device)
    if not sweep.run():
        return rank_rows(problem, everything, memory, scorer=scorer)
    first_beyond = sweep.first_beyond()
    starts = blocks(len(problem.query), sweep.side)
    found = in_parallel(lambda block: sweep.facts(block, first_beyond), starts, workers=workers)
    rest = everything[~sweep.certain]
    return found + (rank_rows(problem, rest, memory, scorer=scorer) if len(rest) else [])


def _side(problem: Problem, memory: int) -> int:
    """Return the largest power of two whose tile, with what is made of it, fits."""
    largest = 1024 if problem.query.values.device.type == "cpu" else 8192
    side = largest
    while side > 64 and 32 * side * side * problem.workers > memory // 2:  # noqa: PLR2004 - a tile worth its calls
        side //= 2
    return side


class Sweep:
    """The running state of one pass over all tiles."""

    def __init__(self, problem: Problem, scorer: ProductScorer, side: int) -> None:
        """Find the nearest relevant item of each query, and the first thresholds."""
        assert side % GROUP == 0, side
        self.problem, self.scorer, self.fast = problem, scorer, scorer.fast(COARSE)
        self.side = side
        self.depth = problem.depth(slice(None))
        self.width = min(self.depth + _SPARE, len(problem.gallery))
        self.best_row, self.best_score = _nearest_relevant(problem, scorer)
        error = self.fast.errors
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
        error = self.fast.error(block)
        found = Ordered(self.rows[block], self.scores[block])
        if self.width < len(self.problem.gallery):
            reach = found.scores[:, self.depth - 1] - 2 * error
            self.certain[block] = found.scores[:, -1] < reach
        certain = self.certain[block]
        queries, error = queries[certain], error[certain]
        found = Ordered(*(part[certain] for part in found))
        nearest = settle(self.problem, self.scorer, queries, found, error).first(self.depth)
        return facts_of(self.problem, queries, nearest, first_beyond[queries])

    def first_beyond(self) -> Int[Tensor, " q"]:
        """Return the rank of each query's nearest relevant item by counting; 0 without any."""
        first = torch.where(self.problem.num_relevant > 0, self.nearer + 1, 0)
        # Wherever the nearest relevant item is better than this, the lists have it.
        listed = self.scores[:, self.depth - 1] + self.fast.errors
        hard = self.best_score <= listed

        def settled(start: int) -> Tensor:
            block = slice(start, min(start + self.side, len(first)))
            pairs = joined(self.doubtful[start])
            pairs = pairs.where(hard[pairs.query])
            asked = torch.arange(block.start, block.stop, device=first.device)
            listed = Listed.of(pairs.query - start, pairs.row, pairs.score, len(asked))
            query, exact = listed.query + start, self.scorer.exact(asked, listed)
            best = self.best_score[query]
            tied = (exact == best) & (listed.rows < self.best_row[query])
            return query[(exact > best) | tied]

        starts = [start for start, parts in self.doubtful.items() if parts]
        before = in_parallel(settled, starts, workers=self.problem.workers)
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
        step = max(1, len(self.problem.gallery) // max(_SAMPLE, 2 * GROUP * (self.width + 1)))
        sample = self.fast.factors.gallery[: len(self.problem.gallery) : step]
        sample = sample[: len(sample) // GROUP * GROUP]
        scores = self.fast.factors.query[block] @ sample.T
        peaks = fold(scores, torch.amax)
        self.threshold[block] = -torch.inf
        if peaks.shape[1] > self.width:
            # One more than `width`, because the query itself may be in the sample.
            lowest = peaks.topk(self.width + 1).values[:, -1]
            self.threshold[block] = (lowest - 2 * self.fast.error(block)).to(COARSE)
        above = scores > self.low[block].unsqueeze(1)
        if int(torch.count_nonzero(above)) > _DENSE * above.numel():
            self.dense.add(block.start)

    def _tile(self, queries: slice, rows: slice) -> Float[Tensor, "n m"]:
        """Score a tile, and give what is left out, and the padding to whole groups, -inf."""
        height, width = queries.stop - queries.start, rows.stop - rows.start
        tile = self.scores.new_empty(-(-height // GROUP) * GROUP, -(-width // GROUP) * GROUP)
        tile[height:], tile[:, width:] = -torch.inf, -torch.inf
        factors = self.fast.factors
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
            nearer, near = count(tile, low, high)
            found = above(tile, threshold)
        else:
            found = near = above(tile, torch.minimum(threshold, low))
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
        new = ordered(Listed.of(*joined(self.pending[start]), block.stop - start))
        self.pending[start] = []
        both = torch.cat([self.scores[block], new.scores], dim=1).topk(self.width)
        rows = torch.cat([self.rows[block], new.rows], dim=1)
        self.scores[block], self.rows[block] = both.values, rows.gather(1, both.indices)
        self.threshold[block] = torch.maximum(self.threshold[block], both.values[:, -1])


def _nearest_relevant(
    problem: Problem, scorer: ProductScorer
) -> tuple[Int[Tensor, " q"], Float[Tensor, " q"]]:
    """Return row and exact score of each query's nearest relevant item; inf without any."""

    def nearest(block: slice) -> Ordered:
        queries = torch.arange(block.start, block.stop, device=problem.own.device)
        counts, rows = problem.classes.members(problem.query.labels[block])
        relevant = Listed(counts, rows, problem.own.new_zeros(len(rows)).double())
        relevant = relevant.where(rows != problem.own[queries[relevant.query]])
        exact = relevant._replace(scores=scorer.exact(queries, relevant))
        return ordered(exact).first(1)

    parts = blocks(len(problem.query), _QUERIES)
    found = in_parallel(nearest, parts, workers=problem.workers)
    row, best = (torch.cat(column).squeeze(1) for column in zip(*found, strict=True))
    return row, best.masked_fill(best == -torch.inf, torch.inf)
