"""Exact ranking in bounded memory: the door to it.

Scores that a rounding error could swap are settled by exact ones, so neither the memory nor the
device changes a rank. Equal scores are ordered by gallery row.

Shapes: Q queries, G gallery, K stored neighbours.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contracts import TORCH, Backend, Distance
from harness.evaluation.candidates import rank_candidates
from harness.evaluation.embedding import Embeddings
from harness.evaluation.parallel import one_thread_each
from harness.evaluation.problem import Facts, Problem, pose
from harness.evaluation.ranking import Ranking
from harness.evaluation.rows import has_quick_products, rank_rows
from harness.evaluation.scores import to_distance
from harness.evaluation.tiles import rank_tiles, suits
from harness.settings import DEFAULT_MEMORY

_SMALL = 1 << 22  # pairs; fewer are ranked before a second thread has started


def rank(
    query: Embeddings,
    gallery: Embeddings | None = None,
    *,
    distance: str | Distance = "cosine",
    neighbors: int = 10,
    memory: int = DEFAULT_MEMORY,
    backend: Backend = TORCH,
) -> Ranking:
    """Rank the gallery for every query, exactly.

    Args:
        query: The queries.
        gallery: None makes the queries their own gallery. An item with a query's sample id is
            never a neighbour of that query, in both cases.
        distance: `cosine`, `euclidean`, or a function; smaller is nearer.
        neighbors: How many nearest neighbours to keep per query.
        memory: Bytes to use above the embeddings; it changes the speed and no result.
        backend: How the nearest items are found, with the same result. A distance that is a
            function is known to no index: then, whatever is asked for, it is torch.

    Raises:
        HarnessError: The two sides differ in D, or the distance is unknown.
    """
    gallery = query if gallery is None else gallery
    backend = backend if isinstance(distance, str) else TORCH
    with one_thread_each(query.values.device):  # a second one starts more slowly than this is done
        problem = pose(query, gallery, distance=distance, neighbors=neighbors)
    facts = _solve(problem, memory, backend)

    def precision_sum(cutoff: int) -> Float[Tensor, " q"]:
        deeper = pose(query, gallery, distance=distance, neighbors=0, cutoff=cutoff)
        return _solve(deeper, memory, backend).precision_sums[-1]

    return Ranking(
        query=query,
        gallery=gallery,
        num_relevant=problem.num_relevant.cpu(),
        first_hit_rank=facts.first_hit_rank.cpu(),
        precision_sum_at_r=facts.precision_sums[0],
        precision_sum_past_r=facts.precision_sums[1],
        hits_at_r=facts.hits_at_r,
        neighbor_ids=gallery.sample_ids[facts.neighbor_rows].cpu(),
        neighbor_distances=to_distance(distance, facts.neighbor_scores).float().cpu(),
        distance=_name(distance),
        backend=backend.name,
        precision_sum=cache(precision_sum),
    )


def _name(distance: str | Distance) -> str:
    if isinstance(distance, str):
        return distance
    return getattr(distance, "__name__", type(distance).__name__)


def _solve(problem: Problem, memory: int, backend: Backend) -> Facts:
    """Return facts about all queries, in their order."""
    is_small = len(problem.query) * len(problem.gallery) < _SMALL
    with _quietly(problem.own.device) as workers:
        problem = replace(problem, workers=1 if is_small else workers)
        if backend.index is not None:
            return join(rank_candidates(problem, backend.index, memory))
        if suits(problem) and not has_quick_products(problem.own.device):
            return join(rank_tiles(problem, memory))
        everything = torch.arange(len(problem.query), device=problem.own.device)
        return join(rank_rows(problem, everything, memory))


@contextmanager
def _quietly(device: torch.device) -> Generator[int]:
    """Yield the number of workers, without gradients, and with float32 products in float32.

    Scores bound the error of the number type they ask for.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), one_thread_each(device) as workers:
            yield workers
    finally:
        torch.set_float32_matmul_precision(before)


def join(parts: list[Facts]) -> Facts:
    """Join the facts of all blocks in the order of the queries."""
    queries = torch.cat([part.queries for part in parts])
    order = torch.argsort(queries)
    on_cpu = order.cpu()
    sums = zip(*(part.precision_sums for part in parts), strict=True)
    return Facts(
        queries=queries[order],
        first_hit_rank=torch.cat([part.first_hit_rank for part in parts])[order],
        hits_at_r=torch.cat([part.hits_at_r for part in parts])[on_cpu],
        precision_sums=tuple(torch.cat(column)[on_cpu] for column in sums),
        neighbor_rows=torch.cat([part.neighbor_rows for part in parts])[order],
        neighbor_scores=torch.cat([part.neighbor_scores for part in parts])[order],
    )
