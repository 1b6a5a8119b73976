"""The rank of a first hit that lies deeper than the lists: a count of what is nearer.

Shapes: B queries, P pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation.kernels import places
from harness.evaluation.pairs import Listed
from harness.evaluation.problem import Problem
from harness.evaluation.scores import FastScores, Scorer
from harness.evaluation.sieve import Sieve, reach

_AT_ONCE = 1 << 21  # pairs: almost all of the gallery may be nearer than a first hit


class Best(NamedTuple):
    """The nearest relevant item of each query: its gallery row and exact score."""

    row: Int[Tensor, " b"]
    score: Float[Tensor, " b"]


def first_hits(
    problem: Problem,
    scorer: Scorer,
    queries: Int[Tensor, " b"],
    sieve: Sieve,
    finer: FastScores | None,
) -> Int[Tensor, " b"]:
    """Return the rank of each query's nearest relevant item. Every query has one.

    Args:
        problem: The ranking.
        scorer: Its scores.
        queries: Which queries.
        sieve: Their fast scores.
        finer: Scores that decide what the fast ones do not, before the exact ones do.
    """
    best = _nearest_relevant(problem, scorer, queries, sieve)
    everything = torch.arange(len(queries), device=queries.device)
    found = [
        _rank(scorer, queries[part], sieve.part(part), Best(*(b[part] for b in best)), finer)
        for part in everything.split(max(1, _AT_ONCE // len(problem.gallery)))
    ]
    return torch.cat(found)


def _rank(
    scorer: Scorer,
    queries: Int[Tensor, " b"],
    sieve: Sieve,
    best: Best,
    finer: FastScores | None,
) -> Int[Tensor, " b"]:
    may_be_nearer = (best.score - sieve.error).to(sieve.scores.dtype)
    listed = sieve.at_or_above(may_be_nearer, most=torch.inf)
    assert listed is not None
    nearer, listed = _sure(listed, best, sieve.error, sieve.scores.dtype)
    if finer is not None:
        listed = listed._replace(scores=finer.single(queries, listed))
        more, listed = _sure(listed, best, finer.error(queries), listed.scores.dtype)
        nearer += more
    query, exact = listed.query, scorer.exact(queries, listed)
    tied = (exact == best.score[query]) & (listed.rows < best.row[query])
    before = (exact > best.score[query]) | tied
    return 1 + nearer + torch.bincount(query[before], minlength=len(nearer))


def _sure(
    listed: Listed, best: Best, error: Float[Tensor, " b"], dtype: torch.dtype
) -> tuple[Int[Tensor, " b"], Listed]:
    """Count the items that are surely nearer than the best, and return those in doubt.

    Scores have been rounded to `dtype`.
    """
    query = listed.query
    sure = listed.scores > (best.score + error).to(dtype).index_select(0, query)
    near = listed.scores >= (best.score - error).to(dtype).index_select(0, query)
    counts = torch.bincount(
        query.index_select(0, places(sure.unsqueeze(0))[1]), minlength=len(error)
    )
    return counts, listed.where(near & ~sure)


def _nearest_relevant(
    problem: Problem, scorer: Scorer, queries: Int[Tensor, " b"], sieve: Sieve
) -> Best:
    counts, rows = problem.classes.members(problem.query.labels[queries])
    query = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    relevant = Listed(counts, rows, sieve.at(query, rows))
    none = torch.full_like(sieve.error, -torch.inf)
    top = none.to(relevant.scores.dtype).scatter_reduce(0, query, relevant.scores, "amax")
    may_be_best = relevant.scores >= reach(top, sieve.error)[query]
    near = relevant.where(may_be_best & (relevant.scores > -torch.inf))
    query, exact = near.query, scorer.exact(queries, near)
    best = none.scatter_reduce(0, query, exact, "amax")
    is_best = exact == best[query]
    first = torch.full_like(counts, len(problem.gallery))
    return Best(first.scatter_reduce(0, query[is_best], near.rows[is_best], "amin"), best)
