"""Distances that are products of factors, and how far a fast product may be from the exact one.

Shapes: Q queries, G gallery, N rows of either, D embedding, K columns of the factors, P pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.evaluation import scanning
from harness.evaluation.kernels import grouped_order
from harness.evaluation.pairs import Listed, Ordered, ordered, unpacked
from harness.evaluation.parallel import blocks, in_parallel

_CACHED = 1 << 17  # float64 numbers that fit into a processor's cache
_SHARED = 1 << 24  # bytes that fit into the cache that all cores share
_REUSED = 4  # times that a row is needed, from which on reading it from the cache pays
_MANY_PAIRS = 1 << 22
PADDING = 64  # the number of columns of a product is a multiple of it


class Factors(NamedTuple):
    """Two matrices whose product is the score of each pair.

    Rows of zeros follow up to a multiple of 64: equal groups of columns are quick to search.
    """

    query: Tensor
    gallery: Tensor


@dataclass(frozen=True, slots=True)
class Formula:
    """A distance that is a product of factors.

    Attributes:
        origin: Gallery, (G, D) -> point in float64, (D,), that the factors start from.
        query, gallery: Rows in float64, (N, D), and the origin -> factors, (N, K).
        single: (P, D), (P, D) in float64 -> exact scores, (P,).
        is_product: Whether the product of the factors themselves is as good as `single`.
        to_distance: Scores -> distances.
    """

    origin: Callable[[Tensor], Tensor]
    query: Callable[[Tensor, Tensor], Tensor]
    gallery: Callable[[Tensor, Tensor], Tensor]
    single: Callable[[Tensor, Tensor], Tensor]
    is_product: bool
    to_distance: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Product:
    """Fast scores: factors in one number type, and a bound on what that costs.

    Attributes:
        factors: Of both sides, padded.
        errors: (Q,) float64; no score of a query, before the product is rounded to the
            number type, is further than this from the exact one.
    """

    factors: Factors
    errors: Float[Tensor, " q"]

    def block(self, queries: Tensor | slice, out: Tensor | None = None) -> Float[Tensor, "b c"]:
        """Return scores against the gallery and its padding; `out` may be taller than needed."""
        left = self.factors.query[queries]
        return torch.mm(
            left, self.factors.gallery.T, out=None if out is None else out[: len(left)]
        )

    def single(self, queries: Int[Tensor, " b"], listed: Listed) -> Float[Tensor, " p"]:
        """Return the scores of the pairs that some queries list, in an order that K decides."""
        return _sampled(self.factors.query[queries], self.factors.gallery, listed)

    def ordered(self, queries: Int[Tensor, " b"], listed: Listed) -> Ordered:
        """Return the pairs that some queries list, by these scores and then by row."""
        query, gallery = self.factors.query[queries], self.factors.gallery
        if query.dtype == torch.float32 and scanning.compiled_for(query.device):
            return unpacked(scanning.packed(query, gallery, listed))
        return ordered(listed._replace(scores=_sampled(query, gallery, listed)))

    def error(self, queries: Tensor | slice) -> Float[Tensor, " b"]:
        """Return the bounds of some queries."""
        return self.errors[queries]


class ProductScorer:
    """Scores of a formula: exact ones of pairs, and fast ones of whole blocks."""

    def __init__(
        self, formula: Formula, query: Tensor, gallery: Tensor, *, memory: int, workers: int
    ) -> None:
        """Keep (Q, D) and (G, D), and float64 factors if half of the memory holds them."""
        self._formula = formula
        self._query, self._gallery = query, gallery
        self._workers = workers
        self._origin = formula.origin(gallery)
        self._is_symmetric = gallery is query and formula.query is formula.gallery
        rows = len(gallery) + (0 if self._is_symmetric else len(query))
        self._multiplies = formula.is_product and gallery.device.type == "cpu"
        self._exact: tuple[_Rounded, _Rounded] | None = None
        if self._multiplies and 8 * rows * gallery.shape[1] <= memory // 2:
            self._exact = self._sides(torch.float64)

    def fast(self, dtype: torch.dtype) -> Product:
        """Return the products of factors rounded to a number type."""
        query, gallery = self._sides(dtype)
        if self._multiplies and dtype == torch.float64:
            self._exact = query, gallery  # as they are in memory anyway
        errors = _product_error(query, gallery, dtype)[: len(self._query)]
        columns = gallery.rows
        if dtype.itemsize < torch.float32.itemsize and columns.device.type == "cpu":
            columns = columns.T.contiguous().T  # up to three times as fast
        return Product(Factors(query.rows, columns), errors)

    def _sides(self, dtype: torch.dtype) -> tuple[_Rounded, _Rounded]:
        """Return the factors of queries and gallery in a number type."""
        if self._exact is not None and dtype == torch.float64:
            return self._exact
        exact = self._exact or (None, None)
        gallery = self._rounded(self._formula.gallery, self._gallery, dtype, exact[1])
        if self._is_symmetric:
            return gallery, gallery
        return self._rounded(self._formula.query, self._query, dtype, exact[0]), gallery

    def exact(self, queries: Int[Tensor, " b"], listed: Listed) -> Float[Tensor, " p"]:
        """Return the exact scores of the pairs that some queries list."""
        if len(listed.rows) > _MANY_PAIRS:
            return self._exact_of_distinct(queries, listed)
        return self._exact_of(queries, listed)

    def _exact_of(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:
        if not self._multiplies:
            return self._exact_by_copies(queries, listed)
        if self._exact is not None:
            query, gallery = self._exact
            return _sampled(query.rows[queries], gallery.rows, listed)
        rows, place = torch.unique(listed.rows, return_inverse=True)
        query = self._formula.query(self._query[queries].double(), self._origin)
        gallery = self._formula.gallery(self._gallery[rows].double(), self._origin)
        return _sampled(query, gallery, listed._replace(rows=place))

    def _exact_by_copies(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:
        at_once = max(1, _CACHED // self._gallery.shape[1])
        pairs = queries[listed.query].split(at_once), listed.rows.split(at_once)
        found = [
            self._formula.single(self._query[query].double(), self._gallery[row].double())
            for query, row in zip(*pairs, strict=True)
        ]
        return torch.cat([self._origin[:0], *found])

    def _exact_of_distinct(self, queries: Tensor, listed: Listed) -> Float[Tensor, " p"]:
        """Score each distinct row once: many pairs in doubt come from collapsed embeddings."""
        twin, first = _twins(self._gallery)
        if len(queries) * len(first) > len(listed.rows):
            return self._exact_of(queries, listed)
        counts, rows = torch.full_like(queries, len(first)), first.repeat(len(queries))
        table = self._exact_of(queries, Listed(counts, rows, self._origin[:0]))
        return table.view(len(queries), -1)[listed.query, twin[listed.rows]]

    def _rounded(
        self,
        factors: Callable[[Tensor, Tensor], Tensor],
        values: Tensor,
        dtype: torch.dtype,
        known: _Rounded | None,
    ) -> _Rounded:
        """Round factors, which may be known in float64, in blocks that stay in the cache."""
        width = factors(values[:1].double(), self._origin).shape[1]
        out = values.new_empty(-(-len(values) // PADDING) * PADDING, width, dtype=dtype)
        out[len(values) :] = 0
        lengths = self._origin.new_zeros(len(out)) if known is None else known.lengths
        lost = self._origin.new_zeros(len(out))
        size = max(1, _CACHED // width)

        def fill(piece: slice) -> None:
            if known is None:
                exact = factors(values[piece].double(), self._origin)
                lengths[piece] = torch.linalg.vector_norm(exact, dim=1)
            else:
                exact = known.rows[piece]
            out[piece] = exact
            if dtype.itemsize < torch.float32.itemsize:
                lost[piece] = torch.linalg.vector_norm(exact - out[piece], dim=1)

        in_parallel(fill, blocks(len(values), size), workers=self._workers)
        return _Rounded(out, lengths, lost)


class _Rounded(NamedTuple):
    """Rounded rows, with the lengths of the exact ones and of what rounding took from them.

    What float32 takes is left out: it is among the roundings that errors allow for.
    """

    rows: Float[Tensor, "n k"]
    lengths: Float[Tensor, " n"]
    lost: Float[Tensor, " n"]


def _product_error(query: _Rounded, gallery: _Rounded, dtype: torch.dtype) -> Tensor:
    """Bound |fast - exact| of each query's scores for any summation order.

    With x' = x - a the rounded x, x'.y' - x.y = -a.y - x.b + a.b, and
    |fl(x'.y') - x'.y'| <= gamma_K |x'| |y'| with gamma_K = K u / (1 - K u) and u the unit roundoff
    (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5). Products of
    bfloat16 are summed in float32, on some processors not rounded to nearest, so u is doubled.
    The exact score has K roundings itself; 16 more cover the factors and the lengths.
    """
    summed = torch.float32 if dtype.itemsize < torch.float32.itemsize else dtype
    unit = torch.finfo(summed).eps / (2 if summed == dtype else 1)
    terms = (query.rows.shape[1] + 16) * (unit + torch.finfo(torch.float64).eps)
    gamma = terms / (1 - terms)
    far, far_lost = gallery.lengths.max(), gallery.lost.max()
    lost = query.lost * far + (query.lengths + query.lost) * far_lost
    return lost + gamma * (query.lengths + query.lost) * (far + far_lost)


def _sampled(query: Tensor, gallery: Tensor, listed: Listed) -> Float[Tensor, " p"]:
    """Multiply listed pairs of rows without copying them, each sum in an order that K decides.

    Where each row of the gallery is needed many times, it is read by pieces that stay in the
    cache.
    """
    size = max(1, _CACHED * 8 // (gallery.shape[1] * gallery.itemsize))
    is_cached = gallery.numel() * gallery.itemsize <= _SHARED
    if is_cached or len(listed.rows) < _REUSED * len(gallery):
        return _sampled_at_once(query, gallery, listed)
    piece, num_queries = listed.rows // size, len(query)
    order = grouped_order(piece)
    num_pieces = -(-len(gallery) // size)
    counts = torch.bincount(piece * num_queries + listed.query, minlength=num_pieces * num_queries)
    counts = counts.view(num_pieces, num_queries)
    rows = listed.rows.index_select(0, order).split(counts.sum(1).tolist())
    found = [
        _sampled_at_once(query, gallery, Listed(count, row, listed.scores))
        for count, row in zip(counts, rows, strict=True)
    ]
    scores = torch.cat(found)
    return torch.empty_like(scores).scatter_(0, order, scores)


def _sampled_at_once(query: Tensor, gallery: Tensor, listed: Listed) -> Float[Tensor, " p"]:
    ends = torch.nn.functional.pad(listed.counts.cumsum(0), (1, 0))
    _silence_beta_warning()
    pattern = torch.sparse_csr_tensor(
        ends,
        listed.rows,
        query.new_zeros(len(listed.rows)),
        size=(len(query), len(gallery)),
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(pattern, query, gallery.T, beta=0.0).values()


@cache
def _silence_beta_warning() -> None:
    """Use up the one warning of sparse tensors: the single operation used here is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = torch.zeros(0)
        torch.sparse_csr_tensor(torch.zeros(2, dtype=torch.long), empty.long(), empty, size=(1, 1))


def _twins(gallery: Tensor) -> tuple[Int[Tensor, " g"], Int[Tensor, " t"]]:
    """Return which distinct row each row is, and one row of each kind."""
    twin = torch.unique(gallery, dim=0, return_inverse=True)[1]
    first = torch.empty(int(twin.max()) + 1, dtype=torch.long, device=twin.device)
    first[twin] = torch.arange(len(twin), device=twin.device)
    return twin, first


def _unit(rows: Tensor, _: Tensor) -> Tensor:
    """Return rows of length 1; zeros stay, so that their cosine with everything is 0."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1)


def _cosine(query: Tensor, gallery: Tensor) -> Tensor:
    return _unit(gallery, gallery).mul_(_unit(query, query)).sum(-1)


def _half_square(query: Tensor, gallery: Tensor) -> Tensor:
    return gallery.sub_(query).square_().sum(-1).mul_(-0.5)


def _moved(rows: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write -|x - y|^2 / 2 as (x, -|x|^2/2, 1) . (y, 1, -|y|^2/2), after moving the origin."""
    moved = rows - origin
    half = -0.5 * moved.square().sum(1, keepdim=True)
    return moved, half, torch.ones_like(half)


def _euclidean_query(rows: Tensor, origin: Tensor) -> Tensor:
    moved, half, one = _moved(rows, origin)
    return torch.cat([moved, half, one], 1)


def _euclidean_gallery(rows: Tensor, origin: Tensor) -> Tensor:
    moved, half, one = _moved(rows, origin)
    return torch.cat([moved, one, half], 1)


def _zero(gallery: Tensor) -> Tensor:
    return torch.zeros_like(gallery[0], dtype=torch.float64)


def _mean(gallery: Tensor) -> Tensor:
    """Distances do not depend on the origin, but rounding does: it is least near the mean."""
    return gallery.mean(0, dtype=torch.float64)


FORMULAS = {
    "cosine": Formula(
        origin=_zero,
        query=_unit,
        gallery=_unit,
        single=_cosine,
        is_product=True,
        to_distance=lambda score: 1 - score,
    ),
    "euclidean": Formula(
        origin=_mean,
        query=_euclidean_query,
        gallery=_euclidean_gallery,
        single=_half_square,
        is_product=False,
        to_distance=lambda score: (-2 * score).clamp(min=0).sqrt(),
    ),
}
