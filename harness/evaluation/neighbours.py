"""Exact neighbours of every query, in bounded memory.

Queries are scored against the whole gallery in blocks. Scores that a rounding error could swap
are settled by exact ones, so neither the block size nor the device changes a rank. Equal scores
are ordered by gallery row.

Shapes: Q queries, G gallery, B queries of a block, M candidates per query, P single pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.contracts import Distance
from harness.errors import HarnessError, did_you_mean
from harness.evaluation.embedding import Embeddings
from harness.evaluation.ranking import Ranking
from harness.evaluation.scores import FORMULAS, Scorer, make_scorer

DEFAULT_MEMORY = 2**30


class Ordered(NamedTuple):
    """The nearest items of each query of a block, nearest first."""

    rows: Int[Tensor, "b m"]
    scores: Float[Tensor, "b m"]


class Facts(NamedTuple):
    """What one block contributes to a `Ranking`; see there."""

    first_hit_rank: Int[Tensor, " b"]
    hits_at_r: Int[Tensor, " b"]
    precision_sums: tuple[Float[Tensor, " b"], ...]
    neighbor_rows: Int[Tensor, "b k"]
    neighbor_scores: Float[Tensor, "b k"]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One ranking to be done, after its input was checked.

    Attributes:
        query, gallery: The two sides.
        scorer: Of this gallery.
        own: (Q,) gallery row with the sample id of each query; -1 where there is none.
        num_relevant: (Q,) R.
        neighbors: How many neighbours are kept.
        cutoffs: Extra depths for average precision.
    """

    query: Embeddings
    gallery: Embeddings
    scorer: Scorer
    own: Int[Tensor, " q"]
    num_relevant: Int[Tensor, " q"]
    neighbors: int
    cutoffs: tuple[int, ...]

    def depth(self, queries: slice) -> int:
        """Return how many neighbours the facts about some queries need."""
        past_r = int(self.num_relevant[queries].max()) + 1
        return min(len(self.gallery), max(past_r, self.neighbors, *self.cutoffs, 1))


def rank(
    query: Embeddings,
    gallery: Embeddings | None = None,
    *,
    distance: str | Distance = "cosine",
    cutoffs: Iterable[int] = (),
    neighbors: int = 10,
    memory: int = DEFAULT_MEMORY,
) -> Ranking:
    """Rank the gallery for every query, exactly.

    Args:
        query: The queries.
        gallery: None makes the queries their own gallery. An item with a query's sample id is
            never a neighbour of that query, in both cases.
        distance: `cosine`, `euclidean`, or a function; smaller is nearer.
        cutoffs: Depths, next to each query's own R, at which average precision is also wanted.
        neighbors: How many nearest neighbours to keep per query.
        memory: Bytes to use above the embeddings; it changes the speed and no result.

    Raises:
        HarnessError: The two sides differ in D, a cut-off is below the largest R, or the
            distance is unknown.
    """
    gallery = query if gallery is None else gallery
    _check_sides(query, gallery, distance)
    own = _own_rows(query, gallery)
    num_relevant = _count_relevant(query, gallery, own)
    depths = tuple(_checked_cutoff(k, num_relevant) for k in cutoffs)
    problem = Problem(
        query,
        gallery,
        make_scorer(distance, query.values, gallery.values),
        own,
        num_relevant,
        min(neighbors, len(gallery) - int((own >= 0).any())),
        depths,
    )
    found = [_facts(problem, block) for block in _blocks(problem, memory)]
    return _ranking(problem, found, distance=_name(distance))


def _check_sides(query: Embeddings, gallery: Embeddings, distance: str | Distance) -> None:
    sizes = query.values.shape[1], gallery.values.shape[1]
    if sizes[0] != sizes[1]:
        raise HarnessError(f"queries have {sizes[0]} dimensions, the gallery has {sizes[1]}")
    if isinstance(distance, str) and distance not in FORMULAS:
        raise HarnessError(
            f"unknown distance {distance!r}",
            hint=did_you_mean(distance, FORMULAS) or f"one of {', '.join(FORMULAS)}",
        )


def _checked_cutoff(cutoff: int, num_relevant: Tensor) -> int:
    largest = int(num_relevant.max())
    if cutoff < largest:
        raise HarnessError(
            f"cut-off {cutoff} is below R = {largest}, the items that a query has to find",
            hint=f"use a cut-off of at least {largest}",
        )
    return cutoff


def _name(distance: str | Distance) -> str:
    if isinstance(distance, str):
        return distance
    return getattr(distance, "__name__", type(distance).__name__)


def _own_rows(query: Embeddings, gallery: Embeddings) -> Int[Tensor, " q"]:
    """Return the gallery row that holds each query's own sample, -1 where none does."""
    if gallery is query:
        return torch.arange(len(query), device=query.values.device)
    ids, rows = gallery.sample_ids.sort()
    place = torch.searchsorted(ids, query.sample_ids).clamp(max=len(ids) - 1)
    return torch.where(ids[place] == query.sample_ids, rows[place], -1)


def _count_relevant(
    query: Embeddings, gallery: Embeddings, own: Int[Tensor, " q"]
) -> Int[Tensor, " q"]:
    classes, counts = torch.unique(gallery.labels, return_counts=True)
    place = torch.searchsorted(classes, query.labels).clamp(max=len(classes) - 1)
    present = torch.where(classes[place] == query.labels, counts[place], 0)
    own_counts = (own >= 0) & (gallery.labels[own.clamp(min=0)] == query.labels)
    return present - own_counts.long()


def _blocks(problem: Problem, memory: int) -> Iterator[slice]:
    """Divide the queries so that the largest intermediate results fit in the memory."""
    everything = slice(0, len(problem.query))
    bytes_per_query = 32 * len(problem.gallery) + 80 * problem.depth(everything)
    size = max(1, memory // bytes_per_query)
    for start in range(0, len(problem.query), size):
        yield slice(start, min(start + size, len(problem.query)))


def _facts(problem: Problem, block: slice) -> Facts:
    """Score one block of queries and reduce it to per-query facts."""
    scores = problem.scorer.block(block)
    own = problem.own[block]
    _leave_out(scores, own)
    ordered = _nearest(problem, block, scores, problem.depth(block))
    labels = problem.query.labels[block].unsqueeze(1)
    hits = (problem.gallery.labels[ordered.rows] == labels) & (ordered.scores > -torch.inf)
    first = _first_hit(hits)
    missing = ((first == 0) & (problem.num_relevant[block] > 0)).nonzero().squeeze(1)
    if len(missing):
        relevant = problem.gallery.labels == labels[missing]
        relevant &= scores[missing] > -torch.inf
        first[missing] = _count_before(problem, block, scores[missing], relevant, missing)
    kept = slice(0, problem.neighbors)
    return Facts(
        first, *_precision(problem, block, hits), ordered.rows[:, kept], ordered.scores[:, kept]
    )


def _leave_out(scores: Float[Tensor, "b g"], own: Int[Tensor, " b"]) -> None:
    """Give each query's own sample the lowest score of all, in place."""
    rows = (own >= 0).nonzero().squeeze(1)
    scores[rows, own[rows]] = -torch.inf


def _nearest(problem: Problem, block: slice, scores: Float[Tensor, "b g"], depth: int) -> Ordered:
    """Return the `depth` nearest gallery rows of each query, in exact order."""
    slack = 2 * problem.scorer.error(block).unsqueeze(1)
    top = scores.topk(depth)
    within_reach = top.values[:, -1:] - slack
    width = int((scores >= within_reach).sum(1).max())
    if width > depth:
        top = scores.topk(width)
    ordered = _settle(problem, block, Ordered(top.indices, top.values), slack)
    return Ordered(ordered.rows[:, :depth], ordered.scores[:, :depth])


def _settle(
    problem: Problem, block: slice, found: Ordered, slack: Float[Tensor, "b 1"]
) -> Ordered:
    """Order by exact score, then gallery row, wherever the fast scores cannot be trusted."""
    rows, scores = found
    apart = scores[:, :-1] - scores[:, 1:] > slack
    doubtful = torch.zeros_like(rows, dtype=torch.bool)
    doubtful[:, :-1] |= ~apart
    doubtful[:, 1:] |= ~apart
    doubtful &= scores > -torch.inf
    query, place = doubtful.nonzero(as_tuple=True)
    if len(query) == 0:
        return found
    run = torch.nn.functional.pad(apart.cumsum(1), (1, 0))[query, place]
    candidate = rows[query, place]
    exact = problem.scorer.exact(query + block.start, candidate, scores[query, place])
    order = _lexicographic(query, run, -exact, candidate)
    rows, scores = rows.clone(), scores.clone()
    rows[query, place] = candidate[order]
    scores[query, place] = exact[order]
    return Ordered(rows, scores)


def _lexicographic(*keys: Tensor) -> Int[Tensor, " p"]:
    """Return the order that sorts by the first key, then the second, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _first_hit(hits: Bool[Tensor, "b m"]) -> Int[Tensor, " b"]:
    """Return the rank of the first hit of each row, 0 where there is none."""
    return torch.where(hits.any(1), hits.int().argmax(1) + 1, 0)


def _count_before(
    problem: Problem,
    block: slice,
    scores: Float[Tensor, "b g"],
    relevant: Bool[Tensor, "b g"],
    queries: Int[Tensor, " b"],
) -> Int[Tensor, " b"]:
    """Return the rank of the nearest relevant item by counting what is nearer.

    Args:
        problem: The ranking.
        block: Which queries `queries` counts within.
        scores: Of these queries.
        relevant: Which gallery rows are relevant; at least one per query.
        queries: Positions of these queries inside the block.
    """
    slack = 2 * problem.scorer.error(block)[queries].unsqueeze(1)
    best = scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)
    nearer = (scores > best + slack).sum(1)
    doubtful = (scores - best).abs() <= slack
    row, candidate = doubtful.nonzero(as_tuple=True)
    exact = problem.scorer.exact(queries[row] + block.start, candidate, scores[row, candidate])
    order = _lexicographic(row, -exact, candidate)
    # In exact order, all that precedes a query's first relevant item among its doubtful ones
    # is nearer. `nonzero` is row-major, so `row` is the same before and after sorting.
    is_relevant = relevant[row, candidate[order]].long()
    seen = is_relevant.cumsum(0)
    before_row = torch.searchsorted(row, torch.arange(len(queries), device=row.device))
    seen_in_row = seen - (seen - is_relevant)[before_row][row]
    return nearer + 1 + torch.bincount(row[seen_in_row == 0], minlength=len(queries))


def _precision(
    problem: Problem, block: slice, hits: Bool[Tensor, "b m"]
) -> tuple[Int[Tensor, " b"], tuple[Float[Tensor, " b"], ...]]:
    """Return hits among the first R, and precision summed over hits, for each depth.

    The sums run over the hits of one query in order of rank and on the CPU, so that no bit
    depends on the block.
    """
    query, place = (index.cpu() for index in hits.nonzero(as_tuple=True))
    num_queries = len(hits)
    relevant = problem.num_relevant[block].cpu()
    ends = torch.bincount(query, minlength=num_queries).cumsum(0)
    starts = torch.nn.functional.pad(ends[:-1], (1, 0))
    hit_number = torch.arange(len(query)) - starts[query] + 1
    precision = hit_number.double() / (place + 1)

    def summed(inside: Bool[Tensor, " h"]) -> Float[Tensor, " b"]:
        sums = torch.bincount(query[inside], precision[inside], minlength=num_queries)
        return sums.double()  # without any hit, bincount forgets the type of the weights

    limit = relevant[query]
    hits_at_r = torch.bincount(query[place < limit], minlength=num_queries)
    depths = [summed(place < limit), summed(place <= limit)]
    return hits_at_r, (*depths, *(summed(place < cutoff) for cutoff in problem.cutoffs))


def _ranking(problem: Problem, found: list[Facts], *, distance: str) -> Ranking:
    """Join the facts of all blocks, on the CPU."""
    rows = torch.cat([facts.neighbor_rows for facts in found])
    scores = torch.cat([facts.neighbor_scores for facts in found])
    sums = [torch.cat(column) for column in zip(*(f.precision_sums for f in found), strict=True)]
    return Ranking(
        query=problem.query,
        gallery=problem.gallery,
        num_relevant=problem.num_relevant.cpu(),
        first_hit_rank=torch.cat([facts.first_hit_rank for facts in found]).cpu(),
        precision_sum_at_r=sums[0],
        precision_sum_past_r=sums[1],
        hits_at_r=torch.cat([facts.hits_at_r for facts in found]),
        neighbor_ids=problem.gallery.sample_ids[rows].cpu(),
        neighbor_distances=_neighbor_distances(problem, rows, scores).cpu(),
        distance=distance,
        precision_sums=dict(zip(problem.cutoffs, sums[2:], strict=True)),
    )


def _neighbor_distances(
    problem: Problem, rows: Int[Tensor, "q k"], scores: Float[Tensor, "q k"]
) -> Float[Tensor, "q k"]:
    """Return exact distances, rounded to float32."""
    query = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
    exact = problem.scorer.exact(query, rows.flatten(), scores.flatten())
    return problem.scorer.to_distance(exact).float().view(rows.shape)
