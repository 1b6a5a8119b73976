"""Criteria with learnable vectors for each class: softmax, ArcFace, ProxyNCA and SoftTriple.

Shapes: B batch, D embedding, C training classes, K centres of a class.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, LossParts, ParamGroup
from harness.kit.proxies import normal_points, uniform_points
from harness.kit.randomness import generator_of
from harness_rdml.criterion import Criterion, Formula
from harness_rdml.criterion_params import (
    ArcFaceParams,
    ProxyNcaParams,
    SoftmaxParams,
    SoftTripletParams,
)

LOWEST_COSINE = 1e-10  # of the authors' ArcFace; the highest is one less this


def along_units(
    embeddings: Float[Tensor, "b d"], weights: Float[Tensor, "c d"]
) -> Float[Tensor, "b c"]:
    """Return x . w / |w|, without forming unit weights: C D numbers less to write and to keep."""
    return embeddings @ weights.T / weights.norm(dim=1).clamp(min=1e-12)


def softmax_loss(
    batch: Batch, class_map: Float[Tensor, "c d"], *, temperature: float
) -> Float[Tensor, ""]:
    """Return the cross-entropy of x . w / temperature with unit w, and x as it comes."""
    logits = along_units(batch.embeddings, class_map) / temperature
    return functional.cross_entropy(logits, batch.labels)


# --- ArcFace ------------------------------------------------------------------------------------


def arcface_loss(
    batch: Batch, class_map: Float[Tensor, "c d"], *, params: ArcFaceParams
) -> Float[Tensor, ""]:
    """Return the cross-entropy of scaled cosines, after adding a margin to the true angle.

    As published (after the correction of 2021-02-27) embeddings are taken as they come and
    cosines are clamped to [1e-10, 1 - 1e-10]: negative ones are all alike and have no gradient,
    and an angle beyond pi - margin is rewarded. As intended (arXiv:1801.07698) embeddings are
    scaled to unit length, cosines keep their sign, and where the angle would pass pi the cosine
    goes on falling as a straight line.
    """
    if params.variant == "published":
        cosines = clamped(along_units(batch.embeddings, class_map), low=LOWEST_COSINE)
        true = cosines.gather(1, batch.labels[:, None])
        target = shifted(true, params.angular_margin)
    else:
        unit = functional.normalize(batch.embeddings)
        cosines = clamped(along_units(unit, class_map), low=None)
        true = cosines.gather(1, batch.labels[:, None])
        margin = params.angular_margin
        beyond = true < -math.cos(margin)
        target = torch.where(beyond, true - margin * math.sin(margin), shifted(true, margin))
    logits = cosines.scatter(1, batch.labels[:, None], target)
    return functional.cross_entropy(params.feature_scale * logits, batch.labels)


def clamped(cosines: Tensor, *, low: float | None) -> Tensor:
    """Return cosines in [low, 1 - e], e at least 1e-10; None for low is -(1 - e).

    1 - 1e-10 is 1 in single precision, where the angle has no gradient; e is what the precision
    can tell from 1.
    """
    high = 1 - max(LOWEST_COSINE, torch.finfo(cosines.dtype).eps)
    return cosines.clamp(-high if low is None else low, high)


def shifted(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(arccos(cosine) + margin) for cosines inside (-1, 1)."""
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    return cosine * math.cos(margin) - sine * math.sin(margin)


# --- ProxyNCA -----------------------------------------------------------------------------------


def proxynca_loss(
    batch: Batch, proxies: Float[Tensor, "c d"], *, scale: float
) -> Float[Tensor, ""]:
    """Return mean |x - p_y|^2 + ln sum_(c != y) e^(-|x - p_c|^2), with |x| = |p| = scale.

    The true proxy is not in the sum, so the loss may be negative. |x|^2 and |p|^2 are on both
    sides, which leaves 2 x . p.
    """
    unit = functional.normalize(batch.embeddings)
    affinity = 2 * scale**2 * along_units(unit, proxies)
    true = affinity.gather(1, batch.labels[:, None])
    lowest = torch.finfo(affinity.dtype).min
    others = affinity.scatter(1, batch.labels[:, None], lowest).logsumexp(1)
    return (others - true.squeeze(1)).mean()


# --- SoftTriple ---------------------------------------------------------------------------------


def softtriplet_loss(
    batch: Batch,
    intra_class_centroids: Float[Tensor, "d ck"],
    *,
    params: SoftTripletParams,
) -> dict[str, Tensor]:
    """Return the cross-entropy of class scores, plus a pull between the centres of a class.

    As published, rows of the (D, C K) matrix are scaled to unit length, that is each coordinate
    over all centres; the score of class c is sum_k w s with w the softmax of gamma s over
    *classes*; embeddings are taken as they come. As intended (arXiv:1909.05235) centres and
    embeddings have unit length, and w is the softmax of s / gamma over the centres of a class.
    """
    centres, of_class = scaled_centres(intra_class_centroids, params), params.n_centroids
    intended = params.variant == "intended"
    embeddings = functional.normalize(batch.embeddings) if intended else batch.embeddings
    similarity = (embeddings * centres.row) @ centres.values * centres.column
    similarity = similarity.unflatten(1, (-1, of_class))
    weights = (
        (similarity / params.gamma).softmax(2)
        if intended
        else (params.gamma * similarity).softmax(1)
    )
    scores = (weights * similarity).sum(2)
    class_term = functional.cross_entropy(
        params.lam * with_margin(scores, batch.labels, params.margin_delta), batch.labels
    )
    if not params.reg_weight:
        return {"loss": class_term, "class_term": class_term}
    spread = centre_spread(centres, of_class)
    loss = class_term + params.reg_weight * spread
    return {"loss": loss, "class_term": class_term, "spread_term": spread}


class ScaledCentres(NamedTuple):
    """The matrix row * values * column, as its factors: it is never formed.

    Attributes:
        values: Centres as they are learned, one in each column.
        row: Factor of each coordinate.
        column: Factor of each centre.
    """

    values: Float[Tensor, "d ck"]
    row: Float[Tensor, " d"]
    column: Float[Tensor, " ck"]


def scaled_centres(centres: Float[Tensor, "d ck"], params: SoftTripletParams) -> ScaledCentres:
    """Return centres of which each, or as published each coordinate, has unit length."""
    dim, count = centres.shape
    if params.variant == "intended":
        return ScaledCentres(centres, centres.new_ones(dim), inverse_length(centres, dim=0))
    return ScaledCentres(centres, inverse_length(centres, dim=1), centres.new_ones(count))


def inverse_length(matrix: Float[Tensor, "m n"], *, dim: int) -> Float[Tensor, " _"]:
    """Return one over the length along a dimension."""
    return matrix.norm(dim=dim).clamp(min=1e-12).reciprocal()


def with_margin(
    scores: Float[Tensor, "b c"], labels: Int[Tensor, " b"], margin: float
) -> Float[Tensor, "b c"]:
    """Return the scores, less the margin for the true class."""
    column = labels[:, None]
    return scores.scatter(1, column, scores.gather(1, column) - margin)


def centre_spread(centres: ScaledCentres, per_class: int) -> Float[Tensor, ""]:
    """Return sum_c sum_(k < l) sqrt(2.00001 - 2 m_k . m_l) / (C K (K - 1)); 0 for one centre.

    It is a distance for centres of unit length. Theirs are not, and where the root has no value
    it is NaN; here such a pair counts zero.
    """
    values = centres.values.unflatten(1, (-1, per_class))
    column = centres.column.unflatten(0, (-1, per_class))
    total = centres.values.new_zeros(())
    for step in range(1, per_class):
        first, second = slice(None, -step), slice(step, None)
        products = (values[..., first] * values[..., second]).flatten(1)
        factors = (column[:, first] * column[:, second]).flatten()
        gap = 2.00001 - 2 * (centres.row.square() @ products) * factors
        total = total + torch.where(gap > 0, gap.clamp(min=1e-12).sqrt(), 0).sum()
    return total / max(len(column) * per_class * (per_class - 1), 1)


# --- what the cards build -----------------------------------------------------------------------


def with_weights(
    formula: Formula, group: ParamGroup, context: BuildContext, *, name: str
) -> LossParts:
    """Return the parts of a loss with one learnable matrix, under `name` in the state."""
    (weight,) = group.params
    criterion = Criterion(formula, weights={name: weight}, num_classes=context.num_classes)
    return LossParts(criterion, param_groups=(group,))


def class_map(context: BuildContext) -> nn.Parameter:
    """Return (C, D) weights, uniform in ±1/sqrt(D)."""
    return uniform_points(
        context.num_classes,
        context.embedding_dim,
        bound=1 / math.sqrt(context.embedding_dim),
        generator=generator_of(context),
    )


def build_softmax(params: SoftmaxParams, context: BuildContext) -> LossParts:
    """Build `rdml_softmax`."""
    group = ParamGroup("class_map", [class_map(context)], lr=params.lr, weight_decay=0.0)
    formula = partial(softmax_loss, temperature=params.temperature)
    return with_weights(formula, group, context, name="class_map")


def build_arcface(params: ArcFaceParams, context: BuildContext) -> LossParts:
    """Build `rdml_arcface`."""
    group = ParamGroup("class_map", [class_map(context)], lr=params.lr, weight_decay=0.0)
    return with_weights(partial(arcface_loss, params=params), group, context, name="class_map")


def build_proxynca(params: ProxyNcaParams, context: BuildContext) -> LossParts:
    """Build `rdml_proxynca`, with proxies drawn from Normal(0, 1/8^2)."""
    proxies = normal_points(
        context.num_classes, context.embedding_dim, std=1 / 8, generator=generator_of(context)
    )
    group = ParamGroup("proxies", [proxies], lr_scale=params.lr_scale, weight_decay=0.0)
    formula = partial(proxynca_loss, scale=params.scale)
    return with_weights(formula, group, context, name="proxies")


def build_softtriplet(params: SoftTripletParams, context: BuildContext) -> LossParts:
    """Build `rdml_softtriplet`, with centres uniform in ±1/sqrt(C K)."""
    count = context.num_classes * params.n_centroids
    centres = uniform_points(
        context.embedding_dim, count, bound=1 / math.sqrt(count), generator=generator_of(context)
    )
    group = ParamGroup("centroids", [centres], lr_scale=params.lr_scale, weight_decay=0.0)
    formula = partial(softtriplet_loss, params=params)
    return with_weights(formula, group, context, name="intra_class_centroids")
