"""Ranking by whole rows: a block of queries against all of the gallery at once.

It serves any depth and any distance. A quick number type comes first; queries of which it leaves
too much in doubt (thousands of relevant items, collapsed embeddings) get the next finer one.

Shapes: Q queries, G gallery, B queries of a block, C columns of its scores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.counting import first_hits
from harness.evaluation.pairs import Listed, Ordered, ordered
from harness.evaluation.parallel import blocks, in_parallel
from harness.evaluation.problem import Facts, Problem
from harness.evaluation.products import ProductScorer
from harness.evaluation.scores import COARSE, FINE, QUICK, FastScores, Scorer, make_scorer
from harness.evaluation.settling import facts_of, settle
from harness.evaluation.sieve import Sieve

_LARGE = 1 << 31  # multiplications, from which on finding out what is quick pays
_WIDE = 40  # gallery rows per candidate, below which a quick product does not pay
_PAIR_COST = 24  # an exact pair takes as long as about this many in a product of the next type
_BLOCK = 1 << 22  # bytes of scores on a CPU: with larger ones, products slow down
_BYTES = {QUICK: 16, COARSE: 12, FINE: 8}  # of a factor in the types that an attempt uses
_FEW = 256  # queries; a product with fewer rows reads the gallery too often


def rank_rows(
    problem: Problem,
    queries: Int[Tensor, " b"],
    memory: int,
    *,
    scorer: Scorer | None = None,
    types: Sequence[torch.dtype] | None = None,
) -> list[Facts]:
    """Return facts about some queries, block by block.

    Args:
        problem: The ranking.
        queries: Which queries.
        memory: Bytes to use above the embeddings.
        scorer: Of the problem, where there is one already.
        types: Of numbers to try, finest last; None chooses them.
    """
    scorer = scorer or scorer_of(problem, memory)
    by_depth = torch.argsort(problem.num_relevant[queries], stable=True)
    queries = queries[by_depth]
    found: list[Facts] = []
    for dtype in types or _number_types(problem, scorer, problem.depth(queries)):
        size = _block_size(problem, len(queries), dtype, memory)
        parts = [queries[part] for part in blocks(len(queries), size)]
        finer = scorer.fast(COARSE) if dtype == QUICK else None
        attempt = _Attempt(problem, scorer, scorer.fast(dtype), finer, size, patient=dtype == FINE)
        results = _unless_hopeless(attempt.facts, parts, problem.workers)
        found += [facts for facts in results if facts is not None]
        left = [part for part, facts in zip(parts, results, strict=True) if facts is None]
        if not left:
            break
        queries = torch.cat(left)
    return found


def scorer_of(problem: Problem, memory: int) -> Scorer:
    """Return the scorer of a problem."""
    sides = problem.query.values, problem.gallery.values
    return make_scorer(problem.distance, *sides, memory=memory, workers=problem.workers)


def _number_types(problem: Problem, scorer: Scorer, depth: int) -> list[torch.dtype]:
    """Return the number types to try, finest last."""
    size, dims = problem.gallery.values.shape
    if not isinstance(scorer, ProductScorer) or depth * _PAIR_COST > size:
        return [FINE]
    worth_it = size >= _WIDE * depth and size * dims * len(problem.query) >= _LARGE
    if worth_it and has_quick_products(problem.own.device):
        return [QUICK, COARSE, FINE]
    return [COARSE, FINE]


@cache
def has_quick_products(device: torch.device) -> bool:
    """Return whether a processor multiplies bfloat16 at least twice as fast as float32."""
    if device.type != "cpu":
        return False
    matrices = {dtype: torch.ones(256, 256, dtype=dtype) for dtype in (QUICK, COARSE)}
    best = dict.fromkeys(matrices, inf)
    for _ in range(10):  # in turns, because other work may slow some of them down
        for dtype, matrix in matrices.items():
            start = time.perf_counter()
            torch.mm(matrix, matrix.T)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return 2 * best[QUICK] < best[COARSE]


def _unless_hopeless(
    work: Callable[[Tensor], Facts | None], parts: list[Tensor], workers: int
) -> list[Facts | None]:
    """Return the results of all parts, or only None when the deepest parts have none."""
    deepest = in_parallel(work, parts[-workers:], workers=workers)
    if all(facts is None for facts in deepest):
        return [None] * len(parts)
    return [*in_parallel(work, parts[:-workers], workers=workers), *deepest]


def _block_size(problem: Problem, num_queries: int, dtype: torch.dtype, memory: int) -> int:
    """Return how many queries fit, with up to three copies of their scores alive at once."""
    size, dims = problem.gallery.values.shape
    rows = size + (0 if problem.gallery is problem.query else len(problem.query))
    factors = _BYTES[dtype] * dims * rows
    room = max(memory - factors, memory // 4) // problem.workers
    fitting = room // (size * (3 * dtype.itemsize + 6) + 128 * problem.depth(slice(None)))
    if problem.own.device.type == "cpu":
        cached = _BLOCK // (size * dtype.itemsize)
        shared = num_queries if problem.workers == 1 else num_queries // (8 * problem.workers)
        fitting = min(fitting, max(_FEW, min(cached, shared)))
    return max(1, fitting)


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """Ranking with one kind of fast scores.

    Attributes:
        finer: Scores that decide what the fast ones leave open, before the exact ones do.
        patient: Settle whatever is in doubt, however much; otherwise give up when a product of a
            finer type is cheaper.
        room: One block of scores for each thread, used again and again: new memory is slow.
    """

    problem: Problem
    scorer: Scorer
    fast: FastScores
    finer: FastScores | None
    block_size: int
    patient: bool
    room: threading.local = field(default_factory=threading.local)

    def facts(self, queries: Int[Tensor, " b"]) -> Facts | None:
        """Return facts about a block of queries, or None when giving up."""
        problem, depth = self.problem, self.problem.depth(queries)
        sieve = Sieve(self._scores(queries), self.fast.error(queries))
        most = inf if self.patient else sieve.scores.numel() / _PAIR_COST + 4096
        listed = sieve.nearest(depth, most=most)
        if listed is None:
            return None
        found = self._settled(queries, listed, sieve.error)
        facts = facts_of(problem, queries, found.first(depth))
        beyond = (facts.first_hit_rank == 0) & (problem.num_relevant[queries] > 0)
        place = beyond.nonzero().squeeze(1)
        if len(place) == 0:
            return facts
        first = first_hits(problem, self.scorer, queries[place], sieve.part(place), self.finer)
        return facts._replace(first_hit_rank=facts.first_hit_rank.index_put((place,), first))

    def _settled(
        self, queries: Int[Tensor, " b"], listed: Listed, error: Float[Tensor, " b"]
    ) -> Ordered:
        """Return candidates in exact order."""
        if self.finer is None:
            return settle(self.problem, self.scorer, queries, ordered(listed), error)
        found, error = self.finer.ordered(queries, listed), self.finer.error(queries)
        return settle(self.problem, self.scorer, queries, found, error)

    def _scores(self, queries: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """Return fast scores, -inf for what is no candidate."""
        size = len(self.problem.gallery)
        scores = self.fast.block(queries, getattr(self.room, "scores", None))
        if len(scores) == self.block_size:
            self.room.scores = scores
        scores[:, size:] = -torch.inf
        own = self.problem.own[queries]
        place = (own >= 0).nonzero().squeeze(1)
        scores[place, own[place]] = -torch.inf
        return scores
