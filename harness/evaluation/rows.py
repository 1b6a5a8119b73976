"""Ranking by whole rows: a block of queries against all of the gallery at once.

It serves any depth and any distance. Scores are float32 first; once they leave too much in doubt
(thousands of relevant items, collapsed embeddings), float64 takes over.

Shapes: Q queries, G gallery, B queries of a block, M candidates per query.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.evaluation.parallel import in_parallel
from harness.evaluation.problem import Facts, Problem, blocks, lexicographic
from harness.evaluation.scores import COARSE, FINE, Scorer, make_scorer
from harness.evaluation.settling import Ordered, facts_of, in_doubt, settle

_SPARE = 16  # candidates beyond the depth, so that near-ties at its end seldom need a second look
_REUSED = 1 << 24
_FEW = 256  # queries; a product with fewer rows reads the gallery too often
_PAIR_COST = 128  # settling one pair takes as long as scoring about this many in a product


def rank_rows(problem: Problem, queries: Int[Tensor, " b"], memory: int) -> list[Facts]:
    """Return facts about some queries, block by block."""
    parts = [queries[part] for part in blocks(len(queries), _block_size(problem, memory))]
    coarse = _scorer(problem, COARSE)
    found = in_parallel(partial(_try_block, problem, coarse), parts[:1], workers=problem.workers)
    if found == [None]:
        found = [None] * len(parts)  # the others will not do better
    else:
        found += in_parallel(
            partial(_try_block, problem, coarse), parts[1:], workers=problem.workers
        )
    if None not in found:
        return [facts for facts in found if facts is not None]
    del coarse
    patient = partial(_try_block, problem, _scorer(problem, FINE), patient=True)
    rest = [part for part, facts in zip(parts, found, strict=True) if facts is None]
    found += in_parallel(patient, rest, workers=problem.workers)
    return [facts for facts in found if facts is not None]


def _scorer(problem: Problem, dtype: torch.dtype) -> Scorer:
    return make_scorer(problem.distance, problem.query.values, problem.gallery.values, dtype=dtype)


def _block_size(problem: Problem, memory: int) -> int:
    """Return how many queries fit, with up to four copies of their scores alive at once.

    More than `_REUSED` bytes of scores are not worth it: the allocator hands such memory back
    each time, and new pages are slow.
    """
    size, dimensions = problem.gallery.values.shape
    factors = 24 * dimensions * (size + len(problem.query))
    depth = problem.depth(slice(None))
    room = max(memory - factors, memory // 4) // problem.workers
    fitting = room // (48 * size + 96 * depth)
    if problem.own.device.type == "cpu":
        fitting = min(fitting, max(_FEW, _REUSED // (4 * size)))
    return max(1, fitting)


def _try_block(
    problem: Problem, scorer: Scorer, queries: Int[Tensor, " b"], *, patient: bool = False
) -> Facts | None:
    """Return the facts, or None when a product of more precision is cheaper than settling."""
    scores = scorer.block(queries)
    _leave_out(scores, problem.own[queries])
    slack = 2 * scorer.error(queries).unsqueeze(1).to(scores.dtype)
    budget = math.inf if patient else scores.numel() / _PAIR_COST + 1024
    found = _candidates(scores, problem.depth(queries), slack, patient=patient)
    if found is None:
        return None
    doubtful = in_doubt(found, slack)
    if int(torch.count_nonzero(doubtful)) > budget:
        return None
    ordered = settle(scorer, queries, found, doubtful, slack)
    facts = facts_of(problem, queries, ordered.first(problem.depth(queries)))
    missing = (facts.first_hit_rank == 0) & (problem.num_relevant[queries] > 0)
    place = missing.nonzero().squeeze(1)
    if len(place) == 0:
        return facts
    relevant = problem.gallery.labels == problem.query.labels[queries[place]].unsqueeze(1)
    first = _count_nearer(
        scorer, queries[place], scores[place], relevant, slack=slack[place], budget=budget
    )
    if first is None:
        return None
    return facts._replace(first_hit_rank=facts.first_hit_rank.index_put((place,), first))


def _leave_out(scores: Float[Tensor, "b g"], own: Int[Tensor, " b"]) -> None:
    """Give each query's own sample the lowest score of all, in place."""
    place = (own >= 0).nonzero().squeeze(1)
    scores[place, own[place]] = -torch.inf


def _candidates(
    scores: Float[Tensor, "b g"], depth: int, slack: Float[Tensor, "b 1"], *, patient: bool
) -> Ordered | None:
    """Return at least all items that may be among the nearest `depth`, by fast score."""
    size = scores.shape[1]
    width = min(depth + _SPARE, size)
    while True:
        found = largest(scores, width)
        reach = found.scores[:, depth - 1 : depth] - slack
        if width == size or bool((found.scores[:, -1:] < reach).all()):
            return found
        if not patient and width > 2 * depth + 256:
            return None
        width = min(2 * width, size)


def largest(scores: Float[Tensor, "b g"], width: int) -> Ordered:
    """Return the `width` largest scores of each row, sorted; like `topk`, but faster.

    Columns are divided into groups. The `width` largest scores lie in the `width` groups with the
    largest maxima, so only those groups are searched.
    """
    group = 2 ** int(math.log2(max(1.0, scores.shape[1] / width)) / 2)
    if group == 1:
        return Ordered(*reversed(scores.topk(width)))
    stride = scores.shape[1] // group
    grouped = scores[:, : group * stride].unflatten(1, (group, stride))
    best = grouped.amax(1).topk(min(width, stride), sorted=False).indices
    members = torch.arange(group, device=scores.device).unsqueeze(1) * stride
    rest = torch.arange(group * stride, scores.shape[1], device=scores.device)
    rows = torch.cat(
        [(best.unsqueeze(1) + members).flatten(1), rest.expand(len(scores), -1)], dim=1
    )
    top = scores.gather(1, rows).topk(width)
    return Ordered(rows.gather(1, top.indices), top.values)


def _count_nearer(
    scorer: Scorer,
    queries: Int[Tensor, " b"],
    scores: Float[Tensor, "b g"],
    relevant: Bool[Tensor, "b g"],
    *,
    slack: Float[Tensor, "b 1"],
    budget: float,
) -> Int[Tensor, " b"] | None:
    """Return the rank of each query's nearest relevant item by counting what is nearer.

    None when more pairs than `budget` are in doubt.
    """
    relevant = relevant & (scores > -torch.inf)
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    doubtful = (scores - best).abs() <= slack
    row, candidate = doubtful.nonzero(as_tuple=True)
    if len(row) > budget:
        return None
    nearer = torch.count_nonzero(scores > best + slack, dim=1)
    exact = scorer.exact(queries[row], candidate, scores[row, candidate])
    # In exact order, what precedes a query's first relevant item is nearer. `nonzero` is
    # row-major, so `row` is the same before and after sorting.
    order = lexicographic(row, -exact, candidate)
    is_relevant = relevant[row, candidate[order]].long()
    seen = is_relevant.cumsum(0)
    start = torch.searchsorted(row, torch.arange(len(queries), device=row.device))
    seen_in_row = seen - (seen - is_relevant)[start][row]
    return nearer + 1 + torch.bincount(row[seen_in_row == 0], minlength=len(queries))
