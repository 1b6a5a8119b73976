"""Ranking by the candidates of a backend's index, for distances that are a product.

The index lists; settling decides, as it does for our own products. What the lists leave open, a
doubt at their end or a first hit beyond it, is ranked by whole rows. So is whatever an index gets
wrong by more than the rounding of its number type.

Shapes: Q queries, B queries of a block, W candidates per query.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.contracts import Index, Nearest
from harness.evaluation.pairs import Listed, Ordered
from harness.evaluation.parallel import blocks, in_parallel
from harness.evaluation.problem import Facts, Problem
from harness.evaluation.products import FORMULAS, ProductScorer
from harness.evaluation.rows import rank_rows
from harness.evaluation.scores import COARSE
from harness.evaluation.settling import facts_of, hits_of, settle

_SPARE = 5  # beyond the depth: the query itself, and near-ties that seldom need a second look
_AT_ONCE = 2048  # queries whose candidates are settled together


def rank_candidates(
    problem: Problem, make_index: Callable[[Tensor], Index], memory: int
) -> list[Facts]:
    """Return facts about all queries; those that stay in doubt are ranked by whole rows."""
    assert isinstance(problem.distance, str), problem.distance
    sides = problem.query.values, problem.gallery.values
    formula, workers = FORMULAS[problem.distance], problem.workers
    scorer = ProductScorer(formula, *sides, memory=memory, workers=workers)
    fast = scorer.fast(COARSE)
    index = make_index(fast.factors.gallery[: len(problem.gallery)])
    found: list[Facts] = []
    for block in blocks(len(problem.query), _block_size(problem, memory)):
        width = min(problem.depth(block) + _SPARE, len(problem.gallery))
        nearest = index(fast.factors.query[block], width)
        errors = fast.error(block)
        facts = partial(_facts, problem, scorer, nearest, errors, block.start)
        pieces = blocks(len(nearest.rows), _AT_ONCE)
        found += in_parallel(facts, pieces, workers=workers)
    unknown = torch.ones(len(problem.query), dtype=torch.bool, device=problem.own.device)
    unknown[torch.cat([facts.queries for facts in found])] = False
    rest = unknown.nonzero().squeeze(1)
    return found + (rank_rows(problem, rest, memory, scorer=scorer) if len(rest) else [])


def _block_size(problem: Problem, memory: int) -> int:
    """Return how many lists fit, with what settling makes of them, beside factors and index."""
    size, dimensions = problem.gallery.values.shape
    factors = 28 * dimensions * (size + len(problem.query))
    room = max(memory - factors, memory // 4)
    return max(1, room // (96 * (problem.depth(slice(None)) + _SPARE)))


def _facts(
    problem: Problem,
    scorer: ProductScorer,
    nearest: Nearest,
    errors: Float[Tensor, " q"],
    start: int,
    piece: slice,
) -> Facts:
    """Return facts about those queries of a piece whose lists leave no doubt."""
    queries = torch.arange(piece.start, piece.stop, device=problem.own.device) + start
    error = errors[piece]
    listed = Ordered(nearest.rows[piece], nearest.scores[piece])
    found = _without(listed, problem.own[queries])
    depth = problem.depth(queries)
    certain = _is_sound(scorer, queries, listed, error)
    if listed.rows.shape[1] < len(problem.gallery):
        certain &= listed.scores[:, -1] < found.scores[:, depth - 1] - 2 * error
    queries, found = queries[certain], Ordered(*(part[certain] for part in found))
    settled = settle(problem, scorer, queries, found, error[certain]).first(depth)
    known = (problem.num_relevant[queries] == 0) | hits_of(problem, queries, settled).any(1)
    return facts_of(problem, queries[known], Ordered(*(part[known] for part in settled)))


def _without(listed: Ordered, own: Int[Tensor, " b"]) -> Ordered:
    """Put each query's own sample, where it is listed, last with the lowest score of all."""
    scores = listed.scores.masked_fill(listed.rows == own.unsqueeze(1), -torch.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return Ordered(listed.rows.gather(1, order), scores)


def _is_sound(
    scorer: ProductScorer,
    queries: Int[Tensor, " b"],
    listed: Ordered,
    error: Float[Tensor, " b"],
) -> Bool[Tensor, " b"]:
    """Return which lists end in a score as exact as the bound on errors supposes."""
    last: Float[Tensor, " b"] = listed.scores[:, -1]
    exact = scorer.exact(queries, Listed(torch.ones_like(queries), listed.rows[:, -1], last))
    return (last - exact).abs() <= error
