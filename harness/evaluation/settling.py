"""From candidates to exact order, and from exact order to facts.

This is the one place where order is decided: by exact score, then by gallery row.

Shapes: B queries, M candidates per query, H hits.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.evaluation import scanning
from harness.evaluation.kernels import places
from harness.evaluation.pairs import Listed, Ordered, ordered
from harness.evaluation.problem import Facts, Problem
from harness.evaluation.scanning import Labels
from harness.evaluation.scores import Scorer


def settle(
    problem: Problem,
    scorer: Scorer,
    queries: Int[Tensor, " b"],
    found: Ordered,
    error: Float[Tensor, " b"],
) -> Ordered:
    """Put candidates that are ordered by fast score into exact order, wherever it matters.

    Scores closer than twice the error, neighbour by neighbour, form a run, which no exact score
    leaves. A run matters if it has both hits and misses, or a neighbour that is kept. The scores
    of kept neighbours are exact afterwards.
    """
    found = found._replace(scores=found.scores.double())
    query, place = places(_doubtful(problem, queries, found, error))
    place += query * found.scores.shape[1]
    counts = torch.bincount(query, minlength=len(queries))
    rows, scores = found.rows.reshape(-1).clone(), found.scores.reshape(-1)
    listed = Listed(counts, rows.index_select(0, place), scores.index_select(0, place))
    exact = ordered(listed._replace(scores=scorer.exact(queries, listed)))
    inside = places(exact.scores > -torch.inf)
    # Exact scores stay in their run, so the order of all is the order run by run.
    rows.scatter_(0, place, exact.rows[inside])
    scores.scatter_(0, place, exact.scores[inside])
    return Ordered(rows.view_as(found.rows), scores.view_as(found.scores))


def _doubtful(
    problem: Problem, queries: Int[Tensor, " b"], found: Ordered, error: Float[Tensor, " b"]
) -> Bool[Tensor, "b m"]:
    """Return what is in a run that matters, and all neighbours that are kept."""
    if scanning.compiled_for(found.scores.device):
        return scanning.doubtful(found, _labels(problem, queries), error, problem.neighbors)
    scores = found.scores
    close = scores[:, :-1] - scores[:, 1:] <= 2 * error.unsqueeze(1)
    run = torch.nn.functional.pad((~close).cumsum(1), (1, 0))
    hits = hits_of(problem, queries, found)
    decides = close & (hits[:, :-1] ^ hits[:, 1:])
    decides[:, : problem.neighbors] |= close[:, : problem.neighbors]
    doubtful = _runs_with(decides, run)
    doubtful[:, : problem.neighbors] |= scores[:, : problem.neighbors] > -torch.inf
    return doubtful


def _runs_with(marked: Bool[Tensor, "b l"], run: Int[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
    """Return the members of runs in which any but the last is marked."""
    number = run + torch.arange(len(run), device=run.device).unsqueeze(1) * run.shape[1]
    chosen = torch.zeros_like(run, dtype=torch.bool).view(-1)
    row, place = places(marked)
    chosen[number[row, place]] = True
    return chosen.index_select(0, number.view(-1)).view_as(run)


def hits_of(problem: Problem, queries: Int[Tensor, " b"], found: Ordered) -> Bool[Tensor, "b m"]:
    """Return which of the items found are of the query's class."""
    labels = problem.query.labels[queries].unsqueeze(1)
    others = problem.gallery.labels.index_select(0, found.rows.reshape(-1)).view_as(found.rows)
    return (others == labels) & (found.scores > -torch.inf)


def facts_of(
    problem: Problem,
    queries: Int[Tensor, " b"],
    nearest: Ordered,
    first_beyond: Int[Tensor, " b"] | None = None,
) -> Facts:
    """Reduce the exact order of the nearest items to facts about each query.

    Args:
        problem: The ranking.
        queries: Which queries.
        nearest: Their nearest items, as deep as `problem.depth(queries)`.
        first_beyond: First hit ranks, of which only those without a hit in `nearest` are used.
    """
    first, hits_at_r, sums = _precision(problem, queries, nearest)
    if first_beyond is not None:
        first = torch.where(first > 0, first, first_beyond)
    # Copies: a view would keep the whole lists alive, Q x R numbers in the end.
    kept = (part.clone() for part in nearest.first(problem.neighbors))
    return Facts(queries, first, hits_at_r, sums, *kept)


def _precision(
    problem: Problem, queries: Int[Tensor, " b"], nearest: Ordered
) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"], tuple[Float[Tensor, " b"], ...]]:
    """Return rank of the first hit, hits among the first R, and precision summed to each depth.

    The sums run over the hits of one query in order of rank and on the CPU, so that no bit
    depends on the block.
    """
    relevant = problem.num_relevant[queries]
    if scanning.compiled_for(nearest.scores.device):
        labels = _labels(problem, queries)
        first, hits_at_r, sums = scanning.precision(nearest, labels, relevant, problem.cutoff or 0)
        return first, hits_at_r, sums if problem.cutoff is not None else sums[:2]
    hits = hits_of(problem, queries, nearest)
    first = torch.where(hits.any(1), hits.int().argmax(1) + 1, 0)
    query, place = (index.cpu() for index in places(hits))
    num_queries = len(hits)
    limit = relevant.cpu()[query]
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
    hits_at_r = torch.bincount(query[place < limit], minlength=num_queries)
    return first, hits_at_r, tuple(sums)


def _labels(problem: Problem, queries: Int[Tensor, " b"]) -> Labels:
    return Labels(problem.query.labels[queries], problem.gallery.labels)
