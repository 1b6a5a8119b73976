"""Scores of pairs, twice: fast for all of them, and exact for the few that decide.

A matrix product rounds differently for different tile shapes, so its values cannot order nearly
equal neighbours reproducibly. Every distance therefore has two forms. A block of scores is one
product, with a bound on its error. `exact` scores single pairs in float64 with a summation order
that depends on D alone: two gallery rows that are equal bit by bit always get equal scores.
Wherever two fast scores are closer than the bound, the exact ones decide.

Shapes: Q queries, G gallery, D embedding, B queries of a block, P pairs. A higher score is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contracts import Distance

COARSE, FINE = torch.float32, torch.float64
_CACHED = 1 << 18  # numbers that fit into a processor's cache: pairs are scored so many at once
_MANY_PAIRS = 1 << 22


@runtime_checkable
class Scorer(Protocol):
    """Scores of queries against the gallery it was made for; queries are rows or a slice."""

    def block(self, queries: Tensor | slice) -> Float[Tensor, "b g"]:
        """Return fast scores of some queries against the whole gallery."""
        ...

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Return the largest |fast - exact| of each query's scores."""
        ...

    def exact(self, query: Tensor, gallery: Tensor, fast: Tensor) -> Float[Tensor, "*p"]:
        """Return the exact scores of pairs, given as rows of the two sides.

        Args:
            query: (P,), or (P, 1) for several gallery rows per query.
            gallery: (P,) or (P, K).
            fast: Their fast scores, of the same shape.
        """
        ...

    def to_distance(self, scores: Tensor) -> Tensor:
        """Return the distances that people read."""
        ...


class Factors(NamedTuple):
    """Two matrices, (Q, K) and (G, K), whose product is the score of each pair."""

    query: Tensor
    gallery: Tensor


@dataclass(frozen=True, slots=True)
class Formula:
    """A distance that is a product of factors.

    Attributes:
        factors: (Q, D), (G, D) and the floating type wanted -> `Factors`.
        product: (P, D), (P, D) float64 -> (P,) exact scores, but for the lengths; overwrites
            the second.
        lengths: (N, D) float64 -> (N,); exact scores are products over both lengths.
        to_distance: Scores -> distances.
    """

    factors: Callable[[Tensor, Tensor, torch.dtype], Factors]
    product: Callable[[Tensor, Tensor], Tensor]
    lengths: Callable[[Tensor], Tensor]
    to_distance: Callable[[Tensor], Tensor]


class ProductScorer:
    """Scores by a matrix product of coarse (float32) or fine (float64) factors."""

    def __init__(
        self, formula: Formula, query: Tensor, gallery: Tensor, *, dtype: torch.dtype
    ) -> None:
        """Keep (Q, D) and (G, D), and compute the factors of both."""
        self.factors = formula.factors(query, gallery, dtype)
        self._formula = formula
        self._query, self._gallery = query, gallery
        self._query_lengths = _by_rows(formula.lengths, query)
        self._gallery_lengths = _by_rows(formula.lengths, gallery)
        self._error = product_error(*self.factors)

    def block(self, queries: Tensor | slice) -> Float[Tensor, "b g"]:
        """Return fast scores of some queries against the whole gallery."""
        return self.factors.query[queries] @ self.factors.gallery.T

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Return the largest |fast - exact| of each query's scores."""
        return self._error[queries]

    def exact(self, query: Tensor, gallery: Tensor, fast: Tensor) -> Float[Tensor, "*p"]:  # noqa: ARG002 - computed anew
        """Return the exact scores of pairs; see `Scorer`."""
        if len(query) > _MANY_PAIRS and query.ndim == 1:
            return self._exact_of_distinct(query, gallery)
        return self._exact_of(query, gallery)

    def _exact_of(self, query: Tensor, gallery: Tensor) -> Float[Tensor, "*p"]:
        at_once = max(1, _CACHED // self._query[:1].numel() // max(1, gallery[:1].numel()))
        found = [
            self._formula.product(self._query[q].double(), self._gallery[g].double())
            for q, g in zip(query.split(at_once), gallery.split(at_once), strict=True)
        ]
        scale = self._query_lengths[query] * self._gallery_lengths[gallery]
        return torch.cat([scale[:0], *found]) / scale

    def _exact_of_distinct(self, query: Tensor, gallery: Tensor) -> Float[Tensor, " p"]:
        """Score each distinct pair once: many pairs in doubt come from collapsed embeddings."""
        twins = torch.unique(self._gallery, dim=0, return_inverse=True)[1]
        first = torch.empty(int(twins.max()) + 1, dtype=torch.long, device=twins.device)
        first[twins] = torch.arange(len(twins), device=twins.device)
        key = query * len(first) + twins[gallery]
        distinct, which = torch.unique(key, return_inverse=True)
        return self._exact_of(distinct // len(first), first[distinct % len(first)])[which]

    def to_distance(self, scores: Tensor) -> Tensor:
        """Return the distances that people read."""
        return self._formula.to_distance(scores)


class OwnScorer:
    """Scores by a loss's own distance, which is known only as a function of two matrices.

    It is computed in float64. Gallery rows that are equal bit by bit share one column, so they
    tie whatever the function rounds to.
    """

    def __init__(self, distance: Distance, query: Tensor, gallery: Tensor) -> None:
        """Keep (Q, D) and the distinct rows of (G, D)."""
        distinct, column = torch.unique(gallery, dim=0, return_inverse=True)
        self._distance = distance
        self._query, self._distinct, self._column = query, distinct.double(), column

    def block(self, queries: Tensor | slice) -> Float[Tensor, "b g"]:
        """Return scores of some queries against the whole gallery."""
        found = self._distance(self._query[queries].double(), self._distinct)
        return -found.double()[:, self._column]

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Return zero: nothing more exact is known than the function itself."""
        return torch.zeros_like(self._query[queries, 0], dtype=FINE)

    def exact(self, query: Tensor, gallery: Tensor, fast: Tensor) -> Float[Tensor, "*p"]:  # noqa: ARG002 - nothing to compute
        """Return the scores as they are."""
        return fast

    def to_distance(self, scores: Tensor) -> Tensor:
        """Return the loss's distance itself."""
        return -scores


def product_error(query: Tensor, gallery: Tensor) -> Float[Tensor, " q"]:
    """Bound the error of each row of `query @ gallery.T` for any summation order.

    |fl(x.y) - x.y| <= gamma_K |x| |y| with gamma_K = K u / (1 - K u) and u the unit roundoff
    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5); 8 further
    roundings cover the factors, the exact score, and comparisons with a rounded score.
    """
    unit = torch.finfo(query.dtype).eps / 2
    terms = (query.shape[1] + 8) * unit
    scale = terms / (1 - terms) * float(gallery.norm(dim=1).max())
    return scale * query.norm(dim=1) * (1 + 64 * unit)  # the norms are rounded as well


def _by_rows(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function of float64 rows in blocks that stay in the cache."""
    at_once = max(1, _CACHED // values.shape[1])
    return torch.cat([function(rows.double()) for rows in values.split(at_once)])


def _length(values: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return L2 norms; 1 for a zero vector, whose cosine with everything is then 0."""
    norm = values.square().sum(1).sqrt()
    return torch.where(norm > 0, norm, 1)


def _cosine_factors(query: Tensor, gallery: Tensor, dtype: torch.dtype) -> Factors:
    def unit(rows: Tensor) -> Tensor:
        return (rows / _length(rows).unsqueeze(1)).to(dtype)

    left = _by_rows(unit, query)
    return Factors(left, left if gallery is query else _by_rows(unit, gallery))


def _dot(query: Tensor, gallery: Tensor) -> Tensor:
    return gallery.mul_(query).sum(-1)


def _euclidean_factors(query: Tensor, gallery: Tensor, dtype: torch.dtype) -> Factors:
    """Write -|x - y|^2 / 2 as (x, -|x|^2/2, 1) . (y, 1, -|y|^2/2), after moving the origin.

    Distances do not depend on the origin, but rounding does: it is least near the mean.
    """
    origin = gallery.mean(0, dtype=FINE)

    def parts(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        moved = rows - origin
        half = -0.5 * moved.square().sum(1, keepdim=True)
        return moved, half, torch.ones_like(half)

    def left(rows: Tensor) -> Tensor:
        moved, half, one = parts(rows)
        return torch.cat([moved, half, one], 1).to(dtype)

    def right(rows: Tensor) -> Tensor:
        moved, half, one = parts(rows)
        return torch.cat([moved, one, half], 1).to(dtype)

    return Factors(_by_rows(left, query), _by_rows(right, gallery))


def _half_square(query: Tensor, gallery: Tensor) -> Tensor:
    return gallery.sub_(query).square_().sum(-1).mul_(-0.5)


def _ones(values: Tensor) -> Tensor:
    return torch.ones_like(values[..., 0])


FORMULAS = {
    "cosine": Formula(_cosine_factors, _dot, _length, lambda score: 1 - score),
    "euclidean": Formula(
        _euclidean_factors,
        _half_square,
        _ones,
        lambda score: (-2 * score).clamp(min=0).sqrt(),
    ),
}


def make_scorer(
    distance: str | Distance,
    query: Float[Tensor, "q d"],
    gallery: Float[Tensor, "g d"],
    *,
    dtype: torch.dtype,
) -> Scorer:
    """Return the scorer of a distance by name, or of a loss's own (float64 in any case)."""
    if isinstance(distance, str):
        return ProductScorer(FORMULAS[distance], query, gallery, dtype=dtype)
    return OwnScorer(distance, query, gallery)
