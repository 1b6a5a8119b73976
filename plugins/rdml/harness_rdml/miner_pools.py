"""Which rows of a batch each miner may pick, and how likely; nothing is drawn here.

A pool is a mask, weights are its probabilities: a row of weights sums to 1, or to 0 where an
anchor has no candidate. Distances are Euclidean.

Shapes: B batch, D embedding, A anchors, C classes of the batch, S nodes of a histogram,
T triplets, P positive pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from harness.api import Triplets
from harness.kit.pairs import masked_max, masked_min, negative_pairs, positive_pairs

MODES = {"hards": (0.0, 0.5), "semihards": (0.3, 0.7), "veryhards": (0.0, 0.3)}
"""Nodes at which the bins with weight begin, by the mode of the parametric miner."""

SMALLEST_WEIGHT = 1e-15  # of a bin outside the mode; keeps far negatives possible


def normalized(weights: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    """Return rows scaled to sum 1; a row of zeros stays one."""
    total = weights.sum(1, keepdim=True)
    return weights / torch.where(total > 0, total, 1)


def distances(embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
    """Return distances without a gradient."""
    rows = embeddings.detach()
    return torch.cdist(rows, rows)


def partners_or_self(labels: Int[Tensor, " b"]) -> Bool[Tensor, "b b"]:
    """Return the pool of positives of distance mining: partners, or oneself if alone."""
    partners = positive_pairs(labels)
    return partners | torch.diag(~partners.any(1))


def distance_probability(
    distance: Float[Tensor, "a b"],
    negatives: Bool[Tensor, "a b"],
    *,
    dim: int,
    lower_cutoff: float,
    upper_cutoff: float | None = None,
) -> Float[Tensor, "a b"]:
    """Return how likely each negative is drawn, inverse to the density of its distance.

    On the unit sphere of R^D distances have density q(d) ~ d^(D-2) (1 - d^2/4)^((D-3)/2)
    (arXiv:1706.07567, section 4); a negative at distance max(d, lower_cutoff) has weight 1/q. At
    d = 2 and beyond, where the authors' code gives NaN, 1 - d^2/4 is held at the resolution of
    the number type: an antipodal negative takes all the probability, as in the limit d -> 2.

    Args:
        distance: Of unit embeddings.
        negatives: Which rows are negatives of each anchor.
        dim: D.
        lower_cutoff: Nearer negatives count as if this far.
        upper_cutoff: Farther negatives have probability 0; None for no such limit.
    """
    pool = negatives if upper_cutoff is None else negatives & (distance < upper_cutoff)
    held = distance.clamp(min=lower_cutoff)
    below_two = (1 - held.square() / 4).clamp(min=torch.finfo(held.dtype).eps)
    log_weight = (2 - dim) * held.log() - (dim - 3) / 2 * below_two.log()
    largest = masked_max(log_weight, pool)
    return normalized(torch.where(pool, (log_weight - largest[:, None]).exp(), 0))


def semihard_pool(
    to_all: Float[Tensor, "a b"],
    to_positive: Float[Tensor, " a"],
    negatives: Bool[Tensor, "a b"],
    margin: float,
) -> tuple[Bool[Tensor, "a b"], Bool[Tensor, " a"]]:
    """Return the negatives of each anchor with d(a, p) < d(a, n) < d(a, p) + margin.

    Where there is none the pool is all negatives. The second value says where there is one.
    """
    nearest = to_positive[:, None]
    semihard = negatives & (nearest < to_all) & (to_all < nearest + margin)
    found = semihard.any(1)
    return torch.where(found[:, None], semihard, negatives), found


def softhard_pools(
    distance: Float[Tensor, "b b"], labels: Int[Tensor, " b"]
) -> tuple[Bool[Tensor, "b b"], Bool[Tensor, "b b"]]:
    """Return positives farther than the nearest negative, and negatives nearer than the farthest.

    Where there is none the pool is all positives, or all negatives.
    """
    positives, negatives = positive_pairs(labels), negative_pairs(labels)
    nearest = masked_min(distance, negatives)[:, None]
    farthest = masked_max(distance, positives)[:, None]
    return (
        _narrowed(positives, distance > nearest),
        _narrowed(negatives, distance < farthest),
    )


def _narrowed(pool: Bool[Tensor, "b b"], wanted: Bool[Tensor, "b b"]) -> Bool[Tensor, "b b"]:
    """Return the wanted part of a pool, row by row, or all of it where that is empty."""
    narrow = pool & wanted
    return torch.where(narrow.any(1, keepdim=True), narrow, pool)


def triplet_ends(labels: Int[Tensor, " b"]) -> tuple[Int[Tensor, "p 2"], Int[Tensor, " p"]]:
    """Return every (anchor, positive), and how many triplets there are up to and with each.

    The triplets of a batch are numbered in the order of anchor, positive, negative.
    """
    pairs = positive_pairs(labels).nonzero()
    return pairs, negative_pairs(labels).sum(1)[pairs[:, 0]].cumsum(0)


def numbered_triplets(labels: Int[Tensor, " b"], numbers: Int[Tensor, " t"]) -> Triplets:
    """Return the triplets with the given numbers, without making the others."""
    pairs, ends = triplet_ends(labels)
    pair = torch.searchsorted(ends, numbers, right=True)
    anchor, positive = pairs[pair].unbind(1)
    negatives = negative_pairs(labels)
    by_index = torch.argsort(~negatives, stable=True)  # negatives first, in ascending order
    rank = numbers - (ends[pair] - negatives.sum(1)[anchor])
    return Triplets(anchor, positive, by_index[anchor, rank])


def class_members(labels: Int[Tensor, " b"]) -> Bool[Tensor, "c b"]:
    """Return the rows of each class of the batch, classes in the order of their labels."""
    return torch.unique(labels)[:, None] == labels


def support_nodes(count: int, limits: tuple[float, float]) -> Float[np.ndarray, " s"]:
    """Return evenly spaced nodes, ends included.

    NumPy spaces them as the authors do: whether a node is at most 0.3 hangs on its last bit.
    """
    return np.linspace(*limits, count)


def bin_weights(mode: str, nodes: Float[np.ndarray, " s"]) -> Float[np.ndarray, " weights"]:
    """Return the weight of each bin, by the node it begins at; they sum to 1.

    As published, every mode but `uniform` has a weight for the last node too, where no bin begins.
    """
    if mode == "uniform":
        return np.full(len(nodes) - 1, 1 / (len(nodes) - 1))
    low, high = MODES[mode]
    weights = np.where((low <= nodes) & (nodes <= high), 1.0, SMALLEST_WEIGHT)
    return weights / weights.sum()


def bin_probability(
    distance: Float[Tensor, "a b"],
    negatives: Bool[Tensor, "a b"],
    *,
    nodes: Float[Tensor, " s"],
    weights: Float[Tensor, " weights"],
) -> Float[Tensor, "a b"]:
    """Return how likely each negative is drawn, by the weight of the bin of its distance.

    Bin i holds (node i, node i+1]; distances outside the nodes belong to the first or last bin, as
    in the authors' code, whose test for them is never true.
    """
    bins = torch.bucketize(distance.to(nodes.dtype), nodes[1:-1])
    return normalized(torch.where(negatives, weights[bins], 0).to(distance.dtype))
