"""From fast scores to exact order, and from exact order to facts.

Shapes: B queries, M candidates per query, P single pairs, H hits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.evaluation.problem import Facts, Problem, lexicographic
from harness.evaluation.scores import Scorer


class Ordered(NamedTuple):
    """Gallery rows of each query with their scores, nearest first."""

    rows: Int[Tensor, "b m"]
    scores: Float[Tensor, "b m"]

    def first(self, depth: int) -> Ordered:
        """Return the nearest `depth`."""
        return Ordered(self.rows[:, :depth], self.scores[:, :depth])


def in_doubt(found: Ordered, slack: Float[Tensor, "b 1"]) -> Bool[Tensor, "b m"]:
    """Return which candidates have a neighbour in the list whose score is within `slack`."""
    close = found.scores[:, :-1] - found.scores[:, 1:] <= slack
    doubtful = torch.zeros_like(found.rows, dtype=torch.bool)
    doubtful[:, :-1] |= close
    doubtful[:, 1:] |= close
    return doubtful


def settle(
    scorer: Scorer,
    queries: Int[Tensor, " b"],
    found: Ordered,
    doubtful: Bool[Tensor, "b m"],
    slack: Float[Tensor, "b 1"],
) -> Ordered:
    """Order the doubtful candidates by exact score, then gallery row.

    A run is a longest stretch without a gap wider than `slack`; no exact score leaves its run.
    """
    query, place = doubtful.nonzero(as_tuple=True)
    if len(query) == 0:
        return found
    rows, scores = found.rows.clone(), found.scores.clone()
    gap = scores[:, :-1] - scores[:, 1:] > slack
    run = torch.nn.functional.pad(gap.cumsum(1), (1, 0))[query, place]
    candidate = rows[query, place]
    exact = scorer.exact(queries[query], candidate, scores[query, place])
    order = lexicographic(query, run, -exact, candidate)
    rows[query, place] = candidate[order]
    scores[query, place] = exact[order].to(scores.dtype)
    return Ordered(rows, scores)


def facts_of(
    problem: Problem,
    queries: Int[Tensor, " b"],
    ordered: Ordered,
    first_beyond: Int[Tensor, " b"] | None = None,
) -> Facts:
    """Reduce the exact order of the nearest items to facts about each query.

    Args:
        problem: The ranking.
        queries: Which queries.
        ordered: Their nearest items, at least as deep as `problem.depth(queries)`.
        first_beyond: First hit ranks, of which only those without a hit in `ordered` are used.
    """
    labels = problem.query.labels[queries].unsqueeze(1)
    hits = (problem.gallery.labels[ordered.rows] == labels) & (ordered.scores > -torch.inf)
    first = torch.where(hits.any(1), hits.int().argmax(1) + 1, 0)
    if first_beyond is not None:
        first = torch.where(first > 0, first, first_beyond)
    kept = ordered.first(problem.neighbors)
    return Facts(queries, first, *_precision(problem, queries, hits), *kept)


def _precision(
    problem: Problem, queries: Int[Tensor, " b"], hits: Bool[Tensor, "b m"]
) -> tuple[Int[Tensor, " b"], tuple[Float[Tensor, " b"], ...]]:
    """Return hits among the first R, and precision summed over the hits, to each depth.

    The sums run over the hits of one query in order of rank and on the CPU, so that no bit
    depends on the block.
    """
    query, place = (index.cpu() for index in hits.nonzero(as_tuple=True))
    num_queries = len(hits)
    limit = problem.num_relevant[queries].cpu()[query]
    ends = torch.bincount(query, minlength=num_queries).cumsum(0)
    starts = torch.nn.functional.pad(ends[:-1], (1, 0))
    hit_number = torch.arange(len(query)) - starts[query] + 1
    precision = hit_number.double() / (place + 1)

    def summed(inside: Bool[Tensor, " h"]) -> Float[Tensor, " b"]:
        sums = torch.bincount(query[inside], precision[inside], minlength=num_queries)
        return sums.double()  # without any hit, bincount forgets the type of the weights

    sums = [summed(place < limit), summed(place <= limit)]
    if problem.cutoff is not None:
        sums.append(summed(place < problem.cutoff))
    return torch.bincount(query[place < limit], minlength=num_queries), tuple(sums)
