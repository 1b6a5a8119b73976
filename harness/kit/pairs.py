"""Who shares a class with whom in a batch, and reductions over sets of unequal size.

Masks come before index lists: a mask has a shape that labels do not decide, so an accelerator
need not wait for it, while `all_pairs` and `all_triplets` make the host wait for their lengths.

Shapes: B batch, Q rows, G columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.contracts import Pairs, Triplets

# --- masks and index lists ----------------------------------------------------------------------


def same_class(
    labels: Int[Tensor, " q"], others: Int[Tensor, " g"] | None = None
) -> Bool[Tensor, "q g"]:
    """Return where a row and a column are of one class; `others` None compares a batch to itself.

    The diagonal is included; see `positive_pairs`.
    """
    return labels[:, None] == (labels if others is None else others)


def positive_pairs(labels: Int[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """Return where a row and a column are different images of one class."""
    return same_class(labels).fill_diagonal_(fill_value=False)


def negative_pairs(labels: Int[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """Return where a row and a column are of different classes."""
    return labels[:, None] != labels


def all_pairs(labels: Int[Tensor, " b"]) -> Pairs:
    """Return every ordered positive and every ordered negative pair, sorted by anchor."""
    return Pairs(
        *positive_pairs(labels).nonzero(as_tuple=True),
        *negative_pairs(labels).nonzero(as_tuple=True),
    )


def all_triplets(labels: Int[Tensor, " b"], anchors: slice = slice(None)) -> Triplets:
    """Return every (anchor, positive, negative), sorted; only those of `anchors` if given.

    A batch of B images with m of each class has B (m - 1) (B - m) triplets: 215,040 for 128 = 8 x
    16. With `anchor_chunks` they can be visited in parts.
    """
    positive, negative = positive_pairs(labels)[anchors], negative_pairs(labels)[anchors]
    rows, positives, negatives = (positive[:, :, None] & negative[:, None, :]).nonzero(
        as_tuple=True
    )
    return Triplets(rows + (anchors.start or 0), positives, negatives)


def anchor_chunks(batch_size: int, *, per_anchor: int, at_most: int) -> Iterator[slice]:
    """Yield slices that cover a batch, each with `at_most` numbers of `per_anchor` per row.

    A slice has one row at least, however large `per_anchor` is.
    """
    rows = max(1, at_most // max(1, per_anchor))
    for start in range(0, batch_size, rows):
        yield slice(start, min(start + rows, batch_size))


# --- reductions over a mask: sets may be empty --------------------------------------------------


def masked_mean(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | None = None
) -> Tensor:
    """Return the mean of the chosen values, over `dim` or over everything.

    Of no values the mean is 0, connected to `values` and with zero gradient.
    """
    chosen = torch.where(mask, values, 0)
    if dim is None:
        return chosen.sum() / mask.sum().clamp(min=1)
    return chosen.sum(dim) / mask.sum(dim).clamp(min=1)


def masked_max(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int = 1
) -> Tensor:
    """Return the largest chosen value along `dim`; of none it is -inf."""
    return values.masked_fill(~mask, -torch.inf).amax(dim)


def masked_min(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int = 1
) -> Tensor:
    """Return the smallest chosen value along `dim`; of none it is inf."""
    return values.masked_fill(~mask, torch.inf).amin(dim)


def log_one_plus_sum_exp(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int = 1
) -> Tensor:
    """Return ln(1 + sum exp(value)) of the chosen values along `dim`, which is 0 of none.

    Nothing overflows: for a large sum it is the logarithm of the sum. Its gradient is zero where
    nothing is chosen.
    """
    lowest = torch.finfo(values.dtype).min  # not -inf, whose gradient is NaN in an empty set
    total = values.masked_fill(~mask, lowest).logsumexp(dim)
    return torch.logaddexp(total, torch.zeros_like(total))
