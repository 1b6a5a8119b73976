"""DR-MS: multi-similarity with mined pairs and the direction in its negative term.

Shapes: B batch, D embedding.

With s_ij = x_i . x_j, and h the anchor's hardest positive,

    loss = (1 / B) sum_i [ (1 / a) ln(1 + sum_{Pos*} exp(-a (s_ij - lambda)))
                         + (1 / b) ln(1 + sum_{Neg*} exp(b (s_ij - lambda - rho_ij))) ]
    rho_ij = gamma cos(x_j - x_i, x_h - x_i)

Pos* are positives less similar than the most similar negative plus a margin, Neg* negatives more
similar than the least similar positive minus it. An anchor without either counts as 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, Progress
from harness.kit.pairs import (
    log_one_plus_sum_exp,
    masked_max,
    masked_min,
    negative_pairs,
    same_class,
)
from harness.kit.precision import full_precision
from harness_direction import DrMsParams
from harness_direction.geometry import LEAST_NORM, precise_squared_distances

ITSELF = 1e-5  # a "positive" whose similarity is nearer to 1 is taken for the anchor itself


def mine(
    similarity: Float[Tensor, "b b"], labels: Int[Tensor, " b"], *, margin: float
) -> tuple[Bool[Tensor, "b b"], Bool[Tensor, "b b"]]:
    """Return Pos* and Neg*.

    What removes the anchor itself is its similarity of 1, as published: an embedding shorter than
    1 keeps itself as a positive, and longer ones lose true positives.
    """
    negative = negative_pairs(labels)
    positive = same_class(labels) & (similarity < 1 - ITSELF)
    nearest_negative = masked_max(similarity, negative)[:, None]
    farthest_positive = masked_min(similarity, positive)[:, None]
    positive &= similarity - margin < nearest_negative
    negative &= similarity + margin > farthest_positive
    both = positive.any(1, keepdim=True) & negative.any(1, keepdim=True)
    return positive & both, negative & both


def direction_cosines(
    embeddings: Float[Tensor, "b d"], hardest: Int[Tensor, " b"]
) -> Float[Tensor, "b b"]:
    """Return cos(x_j - x_i, x_h(i) - x_i) for each anchor i and each j.

    Where an anchor is its own hardest positive the cosine is 0 and has no gradient: in the
    published code, gradients of 1e8 times their size cancel there up to rounding.
    """
    itself = hardest == torch.arange(len(hardest), device=hardest.device)
    to_hardest = torch.where(itself[:, None], 0, embeddings[hardest] - embeddings)
    product = to_hardest @ embeddings.T - (to_hardest * embeddings).sum(1, keepdim=True)
    distance = precise_squared_distances(embeddings.double()).clamp(min=LEAST_NORM**2).sqrt()
    return (
        product
        / distance.to(product.dtype)
        / to_hardest.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
    )


class MultiSimilarityObjective(nn.Module):
    """DR-MS: `(batch, progress) -> {"loss", "num_anchors_contributing"}`."""

    def __init__(self, params: DrMsParams) -> None:
        super().__init__()
        self.params = params

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss; where nothing is mined it is 0, connected to the embeddings."""
        params = self.params
        with full_precision(batch.embeddings) as given:
            embeddings = functional.normalize(given) if params.normalize_embeddings else given
            similarity = embeddings @ embeddings.T
            positive, negative = mine(
                similarity.detach(), batch.labels, margin=params.mining_margin
            )
            pull = -params.scale_pos * (similarity - params.base)
            violation = similarity - params.base
            if params.gamma:
                hardest = similarity.detach().masked_fill(~positive, torch.inf).argmin(1)
                violation = violation - params.gamma * direction_cosines(embeddings, hardest)
            losses = (
                log_one_plus_sum_exp(pull, positive) / params.scale_pos
                + log_one_plus_sum_exp(params.scale_neg * violation, negative) / params.scale_neg
            )
            return {
                "loss": losses.mean(),
                "num_anchors_contributing": positive.any(1).sum(),
            }
