"""DR-Triplet over all triplets of a batch.

Shapes: B batch, D embedding, A anchors of one chunk, P positives of the anchor that has most.

    loss = mean over (a, p, n) of [d(a, p) - d(a, n) + m - gamma cos(x_p - x_a, x_n - x_a)]+

with d(u, v) = |u - v + 1e-6|, the 1e-6 added to every coordinate. No triplet is written out: an
anchor's triplets are a matrix, one row per positive and one column per image, and since

    (x_p - x_a) . (x_n - x_a) = x_p.x_n - x_p.x_a - x_a.x_n + x_a.x_a

all cosines come from the products of the batch with itself. These cancel for near points, so all
is computed in double precision, which costs little without the dimension D.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from harness.api import Batch, Progress
from harness.kit.pairs import anchor_chunks, negative_pairs, positive_pairs
from harness_direction import DrTripletParams
from harness_direction.geometry import LEAST_NORM, precise_squared_distances

OFFSET = 1e-6  # of every coordinate, as in torch's PairwiseDistance
AT_ONCE = 2**22  # triplets of a chunk: 32 MiB per tensor


class Geometry(NamedTuple):
    """How anchors, all of a batch or a chunk of them, lie to the batch; each (A, B).

    Attributes:
        distance: Of anchor and other, with the offset.
        inverse: One over their distance without the offset, for cosines.
        product: x_a . x_o.
        square: x_a . x_a - x_a . x_o.
        positive: Whether the other is a positive.
        negative: Whether the other is a negative.
    """

    distance: Float[Tensor, "a b"]
    inverse: Float[Tensor, "a b"]
    product: Float[Tensor, "a b"]
    square: Float[Tensor, "a b"]
    positive: Bool[Tensor, "a b"]
    negative: Bool[Tensor, "a b"]


def geometry_of(batch: Batch, params: DrTripletParams) -> Geometry:
    """Return the geometry of a whole batch."""
    x = batch.embeddings.double()
    if params.normalize_embeddings:
        x = functional.normalize(x)
    square, sums = precise_squared_distances(x), x.sum(1)
    # |u - v + e|^2 = |u - v|^2 + 2 e sum(u - v) + D e^2
    shifted = square + 2 * OFFSET * (sums[:, None] - sums) + x.shape[1] * OFFSET**2
    shifted = shifted.clamp(min=torch.finfo(x.dtype).tiny)
    product = x @ x.T
    return Geometry(
        shifted if params.squared_distance else shifted.sqrt(),
        square.clamp(min=LEAST_NORM**2).rsqrt(),
        product,
        product.diagonal()[:, None] - product,
        positive_pairs(batch.labels),
        negative_pairs(batch.labels),
    )


def positives_of(positive: Bool[Tensor, "b b"]) -> Int[Tensor, "b p"]:
    """Return each anchor's positives, and behind them, where it has fewer, others.

    As wide as the anchor with most positives needs; on an accelerator, which would have to stop
    to say how many those are, as wide as the batch.
    """
    width = int(positive.sum(1).max()) if positive.is_cpu else len(positive)
    return (~positive).to(torch.int8).argsort(dim=1, stable=True)[:, :width]


def violations(
    rows: Geometry,
    product: Float[Tensor, "b b"],
    positives: Int[Tensor, "a p"],
    *,
    margin: float,
    gamma: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the sum of all violations of some anchors' triplets, and how many there are."""
    of_positive = lambda values: values.gather(1, positives)[:, :, None]  # noqa: E731
    violation = of_positive(rows.distance) - rows.distance[:, None, :] + margin
    if gamma:
        across = (product[positives] - of_positive(rows.product)) + rows.square[:, None, :]
        cosine = across * of_positive(rows.inverse) * rows.inverse[:, None, :]
        violation = violation - gamma * cosine
    triplets = of_positive(rows.positive) & rows.negative[:, None, :]
    violation = functional.relu(torch.where(triplets, violation, 0))
    return violation.sum(), (violation.detach() > 0).sum().to(violation.dtype)


@torch.no_grad()
def means(batch: Geometry, count: Tensor) -> dict[str, Tensor]:
    """Return mean positive distance, negative distance and cosine over all triplets."""
    positive, negative = (
        mask.to(batch.distance.dtype) for mask in (batch.positive, batch.negative)
    )
    near, far = positive * batch.inverse, negative * batch.inverse
    across = (near @ batch.product - (near * batch.product).sum(1, keepdim=True)) * far
    cosine = across + near.sum(1, keepdim=True) * far * batch.square
    return {
        "mean_ap_dist": (batch.distance * positive * negative.sum(1, keepdim=True)).sum() / count,
        "mean_an_dist": (batch.distance * negative * positive.sum(1, keepdim=True)).sum() / count,
        "mean_cos": cosine.sum() / count,
    }


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
        params, size = self.params, len(batch.labels)
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            whole = geometry_of(batch, params)
            positives = positives_of(whole.positive)
            run = partial(violations, margin=params.margin, gamma=params.gamma)
            width = positives.shape[1] * size
            chunks = list(anchor_chunks(size, per_anchor=width, at_most=AT_ONCE))
            if len(chunks) > 1:
                run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
            parts = [
                run(Geometry(*(each[rows] for each in whole)), whole.product, positives[rows])
                for rows in chunks
            ]
            violation, active = (torch.stack(each).sum() for each in zip(*parts, strict=True))
            count = (whole.positive.sum(1) * whole.negative.sum(1)).sum()
            over = count if params.reduction == "all" else active
            terms = {"loss": violation / over.clamp(min=1), **means(whole, count.clamp(min=1))}
        dtype = torch.promote_types(batch.embeddings.dtype, torch.float32)
        terms = {name: value.to(dtype) for name, value in terms.items()}
        return {**terms, "num_triplets": count, "num_active": active.to(dtype)}
