"""Criteria over mined triplets: triplet, contrastive, margin, SNR and quadruplet.

Every function takes a batch with `Triplets` (a, p, n); a mean over no triplet is zero.

Shapes: B batch, D embedding, T triplets, C training classes.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, LossParts, ParamGroup, Triplets
from harness.kit.pairs import masked_mean
from harness.kit.randomness import generator_of
from harness_rdml.criterion import Criterion, mean, triplets_of
from harness_rdml.criterion_params import (
    ContrastiveParams,
    MarginParams,
    QuadrupletParams,
    SnrParams,
    TripletParams,
)


class Rows(NamedTuple):
    """Embeddings of the three members of each triplet."""

    anchor: Float[Tensor, "t d"]
    positive: Float[Tensor, "t d"]
    negative: Float[Tensor, "t d"]


def rows(batch: Batch) -> Rows:
    """Return the embeddings that the triplets of a batch point to."""
    return Rows(*(batch.embeddings[index] for index in triplets_of(batch)))


def triplet_loss(batch: Batch, *, params: TripletParams) -> Float[Tensor, ""]:
    """Return mean [|a - p|^2 - |a - n|^2 + margin]+ over all triplets, zeros included."""
    anchor, positive, negative = rows(batch)
    near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    return mean((near - far + params.margin).relu())


def contrastive_loss(batch: Batch, *, params: ContrastiveParams) -> Float[Tensor, ""]:
    """Return mean [d(a, p) - pos_margin]+ + mean [neg_margin - d(a, n)]+.

    As in the authors' code, d adds 1e-6 to each coordinate of the difference.
    """
    anchor, positive, negative = rows(batch)
    near = functional.pairwise_distance(anchor, positive, eps=1e-6)
    far = functional.pairwise_distance(anchor, negative, eps=1e-6)
    return mean((near - params.pos_margin).relu()) + mean((params.neg_margin - far).relu())


# --- margin -------------------------------------------------------------------------------------


class Hinges(NamedTuple):
    """Distances of the margin loss, and what each triplet costs on either side of beta."""

    d_ap: Float[Tensor, " t"]
    d_an: Float[Tensor, " t"]
    positive: Float[Tensor, " t"]
    negative: Float[Tensor, " t"]


def margin_hinges(batch: Batch, boundary: Tensor | float, *, margin: float) -> Hinges:
    """Return [d_ap - boundary + margin]+ and [boundary - d_an + margin]+, both with distances.

    As in the authors' code, a distance is the root of a sum of squares plus 1e-8.
    """
    anchor, positive, negative = rows(batch)
    d_ap = ((anchor - positive).square().sum(1) + 1e-8).sqrt()
    d_an = ((anchor - negative).square().sum(1) + 1e-8).sqrt()
    return Hinges(d_ap, d_an, (d_ap - boundary + margin).relu(), (boundary - d_an + margin).relu())


def margin_loss(
    batch: Batch, *, params: MarginParams, beta: Tensor | None = None
) -> Float[Tensor, ""]:
    """Return the sum of all hinges over the number of triplets of which one hinge is active.

    `beta` (C,) are learned boundaries, indexed by the class of the anchor; without them every
    boundary is `params.beta`. The penalty nu * sum of the boundaries is ours: the authors' code
    stops at it with a NameError.
    """
    anchor = triplets_of(batch).anchor
    constant = batch.embeddings.new_full((len(anchor),), params.beta)
    boundary = constant if beta is None else beta[batch.labels[anchor]]
    hinges = margin_hinges(batch, boundary, margin=params.margin)
    active = (hinges.positive > 0) | (hinges.negative > 0)
    total = (hinges.positive + hinges.negative).sum()
    return total / active.sum().clamp(min=1) + params.nu * boundary.sum()


# --- signal-to-noise ratio ----------------------------------------------------------------------


def snr_loss(batch: Batch, *, params: SnrParams) -> Float[Tensor, ""]:
    """Return the mean of the active [r(a, p) - r(a, n) + margin]+, plus a penalty on anchors.

    r(a, u) = var(a - u) / var(a), with variances over coordinates. The penalty is reg_lambda times
    the mean of |sum of the coordinates of a|. Without an active triplet the mean is zero; theirs,
    and ours with `fail_as_published`, is NaN.
    """
    anchor, positive, negative = rows(batch)
    signal = scatter(anchor)
    near, far = scatter(anchor - positive) / signal, scatter(anchor - negative) / signal
    hinge = (near - far + params.margin).relu()
    active = (hinge > 0).sum()
    if not params.fail_as_published:
        active = active.clamp(min=1)
    return hinge.sum() / active + params.reg_lambda * mean(anchor.sum(1).abs())


def scatter(vectors: Float[Tensor, "t d"]) -> Float[Tensor, " t"]:
    """Return the variance over coordinates times D - 1, which ratios do not need."""
    return (vectors - vectors.mean(1, keepdim=True)).square().sum(1)


# --- quadruplet ---------------------------------------------------------------------------------


def published_fourths(negative: Int[Tensor, " t"], batch_size: int) -> Bool[Tensor, "t b"]:
    """Return which batch rows the authors' code may draw as the fourth point of each triplet.

    It draws a triplet j with another negative, and then takes batch row j. The two agree in
    number when every row is an anchor once; triplets beyond the batch are left out here, where
    theirs fails.
    """
    first = negative[:batch_size]
    other = negative[:, None] != first
    return functional.pad(other, (0, batch_size - len(first)))


def intended_fourths(
    labels: Int[Tensor, " b"], anchor: Int[Tensor, " t"], negative: Int[Tensor, " t"]
) -> Bool[Tensor, "t b"]:
    """Return which batch rows are of neither the anchor's nor the negative's class."""
    return (labels != labels[anchor][:, None]) & (labels != labels[negative][:, None])


def draw(pool: Bool[Tensor, "t b"], generator: torch.Generator) -> Int[Tensor, " t"]:
    """Return one uniformly drawn column for each row; of an empty pool any column."""
    keys = torch.rand(pool.shape, generator=generator, device=generator.device)
    return keys.to(pool.device, non_blocking=True).masked_fill(~pool, -1).argmax(1)


def quadruplet_terms(
    batch: Batch, fourth: Int[Tensor, " t"], exists: Bool[Tensor, " t"], params: QuadrupletParams
) -> dict[str, Tensor]:
    """Return mean [d(a, p) - d(a, n) + alpha_1]+ and [d(a, p) - d(n, f) + alpha_2]+.

    The second mean is over all pairs of a triplet and a fourth point as published, where shapes
    (T, 1, D) and (T, D) meet; as intended over each triplet with its own.

    Args:
        batch: With triplets.
        fourth: Row of the batch that is the fourth point of each triplet.
        exists: Whether a triplet has a fourth point at all.
        params: Margins and variant.
    """
    anchor, positive, negative = rows(batch)
    last = batch.embeddings[fourth]
    near, far = (anchor - positive).norm(dim=1), (anchor - negative).norm(dim=1)
    triplet_term = mean((near - far + params.margin_alpha_1).relu())
    if params.variant == "intended":
        apart = (negative - last).norm(dim=1)
        hinge, counted = near - apart + params.margin_alpha_2, exists
    else:
        apart = torch.cdist(negative, last)
        hinge = near[:, None] - apart + params.margin_alpha_2
        counted = exists.expand_as(hinge)
    quadruplet_term = masked_mean(hinge.relu(), counted)
    loss = triplet_term + quadruplet_term
    return {"loss": loss, "triplet_term": triplet_term, "quadruplet_term": quadruplet_term}


def quadruplet_loss(
    batch: Batch, *, params: QuadrupletParams, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the loss with its two terms, after drawing a fourth point for each triplet."""
    triplets = triplets_of(batch)
    pool = fourth_pool(batch, triplets, params)
    return quadruplet_terms(batch, draw(pool, generator), pool.any(1), params)


def fourth_pool(batch: Batch, triplets: Triplets, params: QuadrupletParams) -> Bool[Tensor, "t b"]:
    """Return which batch rows may be the fourth point of each triplet."""
    if params.variant == "intended":
        return intended_fourths(batch.labels, triplets.anchor, triplets.negative)
    return published_fourths(triplets.negative, len(batch.labels))


# --- what the cards build -----------------------------------------------------------------------


def build_margin(params: MarginParams, context: BuildContext) -> LossParts:
    """Build `rdml_margin`, with a boundary for each class if it is learned."""
    formula = partial(margin_loss, params=params)
    if not params.learn_beta:
        return LossParts(Criterion(formula))
    beta = nn.Parameter(torch.full((context.num_classes,), params.beta))
    group = ParamGroup("beta", [beta], lr=params.beta_lr, weight_decay=0.0)
    criterion = Criterion(formula, weights={"beta": beta}, num_classes=context.num_classes)
    return LossParts(criterion, param_groups=(group,))


def build_quadruplet(params: QuadrupletParams, context: BuildContext) -> LossParts:
    """Build `rdml_quadruplet`, which draws from the context's generator at every step."""
    generator = generator_of(context)
    return LossParts(Criterion(partial(quadruplet_loss, params=params, generator=generator)))
