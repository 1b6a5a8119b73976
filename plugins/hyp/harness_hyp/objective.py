"""The loss of Hyp, and the head that maps features into the ball.

Shapes: B batch, F features, D embedding.

With s_ij = -d(z_i, z_j) / tau in the ball, or z_i . z_j / tau on the sphere, the loss is the sum
over the ordered pairs of places in a class of the cross-entropy that `harness.kit.partners`
defines: every image must find the other one of its class. No proxies, no parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, LossParts, Progress
from harness.kit.heads import OrthogonalHead
from harness.kit.hyperbolic import PoincareBall, ToBall
from harness.kit.partners import place_terms
from harness.kit.precision import at_least_single
from harness.kit.randomness import generator_of
from harness_hyp import HypParams


class HypObjective(nn.Module):
    """Hyp: `(batch, progress) -> {"loss"}`; no state.

    Embeddings are points of the ball or of the sphere, as the head gives them; those outside the
    ball are drawn back to its edge.
    """

    def __init__(self, params: HypParams) -> None:
        super().__init__()
        self.params = params
        self.ball = PoincareBall(params.c) if params.c else None

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss; 0 where no class has two images."""
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            terms = place_terms(self.similarities(batch.embeddings), batch.labels)
            if self.params.reduction == "sum":
                return {"loss": terms.total}
            num_pairs = terms.num_places * (terms.num_places - 1)
            return {"loss": terms.total / num_pairs.clamp(min=1)}

    def similarities(self, embeddings: Float[Tensor, "b d"]) -> Float[Tensor, "b b"]:
        """Return s."""
        z = at_least_single(embeddings)
        if self.ball is None:
            return z @ z.T / self.params.tau
        z = self.ball.project(z)
        return -self.ball.distances(z, z) / self.params.tau


def assemble(params: HypParams, context: BuildContext) -> LossParts:
    """Return objective, head and distance; no head where the features' size is unknown.

    On the sphere the protocol's distance ranks: for unit vectors, cosine and Euclidean agree.
    """
    objective = HypObjective(params)
    distance = objective.ball.distances if objective.ball else None
    if context.feature_dim is None:
        return LossParts(objective, distance=distance)
    head = OrthogonalHead(
        context.feature_dim,
        context.embedding_dim,
        onto=onto(params),
        layer_norm=False,
        generator=generator_of(context),
    )
    return LossParts(objective, head=head, distance=distance)


def onto(params: HypParams) -> Callable[[Tensor], Tensor]:
    """Return the map of the head: into the ball, or to unit length."""
    if params.c:
        return ToBall(params.c, clip_radius=params.clip_radius)
    return functional.normalize
