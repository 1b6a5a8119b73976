"""DR-Triplet over all triplets of a batch.

Shapes: B batch, D embedding, A anchors of one chunk.

    loss = mean over (a, p, n) of [d(a, p) - d(a, n) + m - gamma cos(x_p - x_a, x_n - x_a)]+

with d(u, v) = |u - v + 1e-6|, the 1e-6 added to every coordinate. An anchor's triplets are a
(positive, negative) matrix, and all their cosines are one product of its unit differences, so no
triplet is ever written out: 215,040 of them, from 128 images of 8 classes, are a (128, 128, 128)
mask.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from harness.api import Batch, Progress
from harness.kit.pairs import anchor_chunks, negative_pairs, positive_pairs
from harness.kit.precision import full_precision
from harness_direction import DrTripletParams

OFFSET = 1e-6  # of every coordinate, as in torch's PairwiseDistance
LEAST_NORM = 1e-8  # as in torch's cosine_similarity
AT_ONCE = 2**23  # numbers in the largest tensor of a chunk: 32 MiB in single precision


class Sums(NamedTuple):
    """Sums over the triplets of some anchors.

    Attributes:
        violation: What the loss is made of.
        active: Number of triplets with a violation.
        positive: Distances of anchor and positive.
        negative: Distances of anchor and negative.
        cosine: Cosines of the directions to positive and negative.
    """

    violation: Float[Tensor, ""]
    active: Float[Tensor, ""]
    positive: Float[Tensor, ""]
    negative: Float[Tensor, ""]
    cosine: Float[Tensor, ""]


def sums_of(
    embeddings: Float[Tensor, "b d"],
    anchors: Float[Tensor, "a d"],
    positive: Bool[Tensor, "a b"],
    negative: Bool[Tensor, "a b"],
    *,
    params: DrTripletParams,
) -> Sums:
    """Return the sums over all triplets of `anchors`."""
    difference = embeddings - anchors[:, None, :]  # differences, because near points cancel
    distance = (difference - OFFSET).norm(dim=2)
    if params.squared_distance:
        distance = distance.square()
    unit = difference / difference.norm(dim=2, keepdim=True).clamp(min=LEAST_NORM)
    violation = distance[:, :, None] - distance[:, None, :] + params.margin
    if params.gamma:
        violation = violation - params.gamma * (unit @ unit.mT)
    triplets = positive[:, :, None] & negative[:, None, :]
    violation = functional.relu(torch.where(triplets, violation, 0))
    return Sums(
        violation.sum(),
        (violation > 0).sum().to(unit.dtype),
        *statistics(distance, unit, positive=positive, negative=negative),
    )


@torch.no_grad()
def statistics(
    distance: Float[Tensor, "a b"],
    unit: Float[Tensor, "a b d"],
    *,
    positive: Bool[Tensor, "a b"],
    negative: Bool[Tensor, "a b"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of positive distances, negative distances and cosines, without a cube."""
    towards, away = positive.to(unit.dtype), negative.to(unit.dtype)
    cosine = (towards[:, None] @ unit) * (away[:, None] @ unit)
    return (
        ((distance * towards).sum(1) * away.sum(1)).sum(),
        ((distance * away).sum(1) * towards.sum(1)).sum(),
        cosine.sum(),
    )


class TripletObjective(nn.Module):
    """DR-Triplet: `(batch, progress) -> {"loss", …}` with means over triplets and two counts."""

    def __init__(self, params: DrTripletParams) -> None:
        super().__init__()
        self.params = params

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss; without a triplet it is 0, connected to the embeddings.

        Anchors are visited in chunks. With more than one, a chunk's intermediate tensors are
        computed a second time in the backward pass instead of being kept.
        """
        positive, negative = positive_pairs(batch.labels), negative_pairs(batch.labels)
        params = self.params
        with full_precision(batch.embeddings) as given:
            embeddings = functional.normalize(given) if params.normalize_embeddings else given
            size, dim = embeddings.shape
            chunks = list(anchor_chunks(size, per_anchor=size * max(size, dim), at_most=AT_ONCE))
            run = partial(sums_of, params=params)
            if len(chunks) > 1:
                run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
            parts = [
                Sums(*run(embeddings, embeddings[rows], positive[rows], negative[rows]))
                for rows in chunks
            ]
            total = Sums(*(torch.stack(column).sum() for column in zip(*parts, strict=True)))
            count = (positive.sum(1) * negative.sum(1)).sum()
            return self._terms(total, count)

    def _terms(self, total: Sums, count: Tensor) -> dict[str, Tensor]:
        """Return means: of the loss over all or active triplets, of the rest over all."""
        number = count.clamp(min=1)
        over = number if self.params.reduction == "all" else total.active.clamp(min=1)
        return {
            "loss": total.violation / over,
            "mean_ap_dist": total.positive / number,
            "mean_an_dist": total.negative / number,
            "mean_cos": total.cosine / number,
            "num_triplets": count,
            "num_active": total.active,
        }
