"""Scores of pairs, twice: fast for all of them, and exact for the few that decide.

A matrix product rounds differently for different tile shapes, so its values cannot order nearly
equal neighbours reproducibly. Every distance therefore has two forms. A block of fast scores is
one product, in whatever number type is quick, with a bound on its error. `exact` scores single
pairs in float64 with a summation order that depends on D alone: two gallery rows that are equal
bit by bit always get equal scores.

Shapes: Q queries, G gallery, D embedding, B queries of a block, C >= G columns, P pairs. A higher
score is nearer.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contracts import Distance
from harness.evaluation.pairs import Listed, Ordered, ordered
from harness.evaluation.products import FORMULAS, PADDING, ProductScorer

QUICK, COARSE, FINE = torch.bfloat16, torch.float32, torch.float64


@runtime_checkable
class FastScores(Protocol):
    """Scores of whole blocks; queries are rows or a slice."""

    def block(self, queries: Tensor | slice, out: Tensor | None = None) -> Float[Tensor, "b c"]:
        """Return scores of some queries against the gallery; columns beyond it mean nothing."""
        ...

    def single(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:
        """Return the scores of the pairs that some queries list."""
        ...

    def ordered(self, queries: Tensor, listed: Listed) -> Ordered:
        """Return the pairs that some queries list, by these scores and then by row."""
        ...

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Bound |fast - exact| of each query's scores, before they are rounded to their type."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Scores of queries against the gallery it was made for."""

    def fast(self, dtype: torch.dtype) -> FastScores:
        """Return fast scores in a number type."""
        ...

    def exact(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:
        """Return the exact scores, in float64, of the pairs that some queries list."""
        ...


class OwnScorer:
    """Scores by a loss's own distance, which is known only as a function of two matrices.

    It is computed in float64. Gallery rows that are equal bit by bit share one column, so they
    tie whatever the function rounds to.
    """

    def __init__(self, distance: Distance, query: Tensor, gallery: Tensor) -> None:
        """Keep (Q, D) and the distinct rows of (G, D)."""
        distinct, column = torch.unique(gallery, dim=0, return_inverse=True)
        self._distance = distance
        self._query, self._distinct = query, distinct.double()
        self._column = torch.nn.functional.pad(column, (0, -len(column) % PADDING))

    def fast(self, dtype: torch.dtype) -> OwnScorer:  # noqa: ARG002 - never rounded
        """Return itself: there is nothing faster."""
        return self

    def block(self, queries: Tensor | slice, out: Tensor | None = None) -> Float[Tensor, "b c"]:  # noqa: ARG002 - the function makes its own
        """Return scores of some queries against the gallery, padded."""
        found = self._distance(self._query[queries].double(), self._distinct)
        return -found.double()[:, self._column]

    def single(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:  # noqa: ARG002 - nothing to compute
        """Return the scores as they are."""
        return listed.scores

    def ordered(self, queries: Tensor, listed: Listed) -> Ordered:  # noqa: ARG002 - nothing to compute
        """Return them in the order of the scores they have."""
        return ordered(listed)

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Return zero: nothing more exact is known than the function itself."""
        return torch.zeros_like(self._query[queries, 0], dtype=FINE)

    exact = single


def make_scorer(
    distance: str | Distance,
    query: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    *,
    memory: int,
    workers: int = 1,
) -> Scorer:
    """Return the scorer of a distance by name, or of a loss's own."""
    if isinstance(distance, str):
        formula = FORMULAS[distance]
        return ProductScorer(formula, query, gallery, memory=memory, workers=workers)
    return OwnScorer(distance, query, gallery)


def to_distance(distance: str | Distance, scores: Tensor) -> Tensor:
    """Return the distances that people read; a loss's own is its score with the sign changed."""
    return FORMULAS[distance].to_distance(scores) if isinstance(distance, str) else -scores
