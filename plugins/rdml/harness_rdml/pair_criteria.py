"""Criteria over pairs of a batch: multi-similarity, lifted, N-pair, angular and histogram.

Index pairs become masks over a (B, B) matrix, so anchors may have any number of partners and
negatives. A mean over no anchor is zero.

Shapes: B batch, D embedding, T anchors with a positive, P pairs, R nodes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from harness.api import Batch, Pairs
from harness.kit.pairs import (
    log_one_plus_sum_exp,
    masked_max,
    masked_mean,
    masked_min,
    negative_pairs,
    positive_pairs,
    same_class,
)
from harness_rdml.criterion import mean, mean_norm, pair_mask, pairs_of
from harness_rdml.criterion_params import (
    AngularParams,
    HistogramParams,
    LiftedParams,
    MultiSimilarityParams,
    NPairParams,
)


class PairMasks(NamedTuple):
    """Which columns are positives, and which negatives, of each row."""

    positive: Bool[Tensor, "b b"]
    negative: Bool[Tensor, "b b"]


# --- multi-similarity ---------------------------------------------------------------------------


def hard_pairs(similarity: Float[Tensor, "b b"], batch: Batch, *, slack: float) -> PairMasks:
    """Return negatives above the least positive less the slack, and positives likewise.

    An anchor without a partner, or alone with its class, has neither.
    """
    positive, negative = positive_pairs(batch.labels), negative_pairs(batch.labels)
    least_positive = masked_min(similarity, positive)[:, None]
    greatest_negative = masked_max(similarity, negative)[:, None]
    return PairMasks(
        positive & (similarity - slack < greatest_negative),
        negative & (similarity + slack > least_positive),
    )


def multi_similarity_loss(batch: Batch, *, params: MultiSimilarityParams) -> Float[Tensor, ""]:
    """Return the mean loss of the anchors that have a hard positive and a hard negative.

    Anchor a costs ln(1 + sum e^(-p (S - thresh))) / p over its hard positives, with p pos_weight,
    plus ln(1 + sum e^(n (S - thresh))) / n over its hard negatives, with n neg_weight (eq. 10 of
    arXiv:1904.06627). S are dot products, of embeddings as they come. Where no anchor has both
    the loss is zero; theirs fails there, and for an anchor without a partner.
    """
    similarity = batch.embeddings @ batch.embeddings.T
    with torch.no_grad():
        hard = hard_pairs(similarity, batch, slack=params.margin)
        kept = hard.positive.any(1) & hard.negative.any(1)
    excess = similarity - params.thresh
    near = log_one_plus_sum_exp(-params.pos_weight * excess, hard.positive) / params.pos_weight
    far = log_one_plus_sum_exp(params.neg_weight * excess, hard.negative) / params.neg_weight
    return masked_mean(near + far, kept)


# --- lifted -------------------------------------------------------------------------------------


def lifted_loss(batch: Batch, *, params: LiftedParams) -> dict[str, Tensor]:
    """Return mean_a [LSE_p d(a, p) + LSE_n (neg_margin - d(a, n))]+ + l2 * mean |x|.

    The mean is over anchors with a positive. Without mined pairs, all pairs of the batch count.
    As in the authors' code, d adds 1e-6 to each coordinate of the difference; it is Euclidean
    over the coordinates, as their file was before torch 1.10 changed the axis under it.
    """
    embeddings = batch.embeddings
    pairs = all_or_mined(batch)
    distances = torch.cdist(embeddings + 1e-6, embeddings)
    lowest = torch.finfo(distances.dtype).min / 2  # twice it is still finite
    near = distances.masked_fill(~pairs.positive, lowest).logsumexp(1)
    far = (params.neg_margin - distances).masked_fill(~pairs.negative, lowest).logsumexp(1)
    lifted_term = masked_mean((near + far).relu(), pairs.positive.any(1))
    length = mean_norm(embeddings)
    return {
        "loss": lifted_term + params.l2 * length,
        "lifted_term": lifted_term,
        "mean_norm": length,
    }


def all_or_mined(batch: Batch) -> PairMasks:
    """Return the mined pairs as masks, or all pairs where there is no miner."""
    if batch.tuples is None:
        return PairMasks(positive_pairs(batch.labels), negative_pairs(batch.labels))
    pairs, size = pairs_of(batch), len(batch.labels)
    return PairMasks(
        pair_mask(pairs.anchor_positive, pairs.positive, size=size),
        pair_mask(pairs.anchor_negative, pairs.negative, size=size),
    )


# --- N-pair and angular -------------------------------------------------------------------------


def npair_term(
    embeddings: Float[Tensor, "b d"], pairs: Pairs, *, clamp: float = math.inf
) -> Float[Tensor, ""]:
    """Return mean ln(1 + sum_n e^(a . n - a . p)), n over the negatives mined for anchor a.

    Exponents are clamped to [-clamp, clamp], and beyond have no gradient.
    """
    anchor, positive = pairs.anchor_positive, pairs.positive
    similarity = embeddings @ embeddings.T
    gaps = similarity[anchor] - similarity[anchor, positive][:, None]
    return mean(log_one_plus_sum_exp(gaps.clamp(-clamp, clamp), negatives_of(pairs, embeddings)))


def angular_term(
    embeddings: Float[Tensor, "b d"], pairs: Pairs, *, alpha: float
) -> Float[Tensor, ""]:
    """Return mean ln(1 + sum_n e^(4 t (a + p) . n - 2 (1 + t) a . p)), t = tan^2 alpha, |x| = 1.

    Eq. 8 of arXiv:1708.01682, on embeddings scaled to unit length; alpha in degrees.
    """
    unit = functional.normalize(embeddings)
    anchor, positive = unit[pairs.anchor_positive], unit[pairs.positive]
    tangent = math.tan(math.radians(alpha)) ** 2
    partners = (anchor * positive).sum(1, keepdim=True)
    exponents = 4 * tangent * (anchor + positive) @ unit.T - 2 * (1 + tangent) * partners
    return mean(log_one_plus_sum_exp(exponents, negatives_of(pairs, embeddings)))


def negatives_of(pairs: Pairs, embeddings: Float[Tensor, "b d"]) -> Bool[Tensor, "t b"]:
    """Return the negatives of the anchor of each positive pair."""
    mask = pair_mask(pairs.anchor_negative, pairs.negative, size=len(embeddings))
    return mask[pairs.anchor_positive]


def npair_loss(batch: Batch, *, params: NPairParams) -> dict[str, Tensor]:
    """Return the N-pair term plus l2 times the mean length, of scaled embeddings."""
    embeddings = params.embedding_scale * batch.embeddings
    term, length = npair_term(embeddings, pairs_of(batch)), mean_norm(embeddings)
    return {"loss": term + params.l2 * length, "npair_term": term, "mean_norm": length}


def angular_loss(batch: Batch, *, params: AngularParams) -> dict[str, Tensor]:
    """Return N-pair term + angular_weight * angular term + l2 * mean length.

    As published the exponents of the N-pair term, and only those, are clamped to [-50, 50]; an
    N-pair loss has no such bound, nor has ours as `intended`. Anchors may have different numbers
    of negatives, where the authors' code fails: its own sampler brings that about.
    """
    embeddings, pairs = batch.embeddings, pairs_of(batch)
    clamp = 50.0 if params.variant == "published" else math.inf
    terms = {
        "angular_term": angular_term(embeddings, pairs, alpha=params.alpha),
        "npair_term": npair_term(embeddings, pairs, clamp=clamp),
        "mean_norm": mean_norm(embeddings),
    }
    weighted = params.angular_weight * terms["angular_term"] + params.l2 * terms["mean_norm"]
    return {"loss": terms["npair_term"] + weighted, **terms}


# --- histogram ----------------------------------------------------------------------------------


class KeptWeights(NamedTuple):
    """Which of the two weights of a similarity in interval r = 0..R-1 reach their node."""

    lower: list[bool]
    upper: list[bool]


def weights_kept(num_nodes: int, *, exact: bool) -> KeptWeights:
    """Return for each interval [node r, node r + 1) whether node r and node r + 1 get their share.

    The authors' code finds the node by comparing floating-point numbers for equality. Where the
    width is no power of two, r w - 1 and (-1 + (r + 1) w) - w may differ in the last bit, and the
    share of node r + 1 is lost. What is compared there is computed here once, in double
    precision; in single precision their code loses other shares, depending on the device.
    """
    width = 2 / (num_nodes - 1)
    nodes = [-1 + index * width for index in range(num_nodes)]
    floors = [index * width - 1 for index in range(num_nodes)]
    lower = [exact or floor == node for floor, node in zip(floors, nodes, strict=True)]
    upper = [
        exact or floor == node - width for floor, node in zip(floors, nodes[1:], strict=False)
    ]
    return KeptWeights(lower, [*upper, False])  # beyond the last node there is none


def soft_histogram(
    similarity: Float[Tensor, " p"], chosen: Bool[Tensor, " p"], kept: KeptWeights
) -> Float[Tensor, " r"]:
    """Return the histogram of the chosen similarities in [-1, 1]; of none it is zero.

    Each is shared by the two nodes next to it, in proportion to its nearness.
    """
    num_nodes = len(kept.lower)
    position = (similarity + 1) / (2 / (num_nodes - 1))
    floor = position.detach().floor()
    share = position - floor
    inside = chosen & (floor >= 0) & (floor < num_nodes)
    index = floor.clamp(0, num_nodes - 1).long()
    has_lower, has_upper = torch.tensor(kept).to(index.device, non_blocking=True)
    lower = torch.where(inside & has_lower[index], 1 - share, 0)
    upper = torch.where(inside & has_upper[index], share, 0)
    counts = lower.new_zeros(num_nodes + 1).index_add(0, index, lower)
    counts = counts.index_add(0, index + 1, upper)[:-1]
    return counts / chosen.sum().clamp(min=1)


class Histograms(NamedTuple):
    """Histograms of the similarities of positive and of negative pairs."""

    positive: Float[Tensor, " r"]
    negative: Float[Tensor, " r"]


def pair_histograms(batch: Batch, *, params: HistogramParams) -> Histograms:
    """Return the two histograms over the unordered pairs of a batch."""
    size = len(batch.labels)
    one, other = torch.triu_indices(size, size, offset=1, device=batch.labels.device)
    similarity = (batch.embeddings @ batch.embeddings.T)[one, other]
    same = same_class(batch.labels)[one, other]
    kept = weights_kept(params.nbins, exact=params.variant == "intended")
    return Histograms(
        soft_histogram(similarity, same, kept), soft_histogram(similarity, ~same, kept)
    )


def histogram_loss(batch: Batch, *, params: HistogramParams) -> Float[Tensor, ""]:
    """Return the chance that a negative pair is more similar than a positive one.

    sum_r h-_r sum_(q <= r) h+_q (eq. 4 of arXiv:1611.00822), of dot products, which must lie in
    [-1, 1]: others count in no node.
    """
    positive, negative = pair_histograms(batch, params=params)
    return (negative * positive.cumsum(0)).sum()
