"""HIER: a metric loss and a hierarchy of proxies in the Poincaré ball.

Shapes: B batch, P hierarchical proxies, F features, D embedding.

    loss = lambda1 metric + lambda2 (term(z, rho) + term(rho, rho))

where z are the embeddings, rho the proxies, both in the ball, and `regulariser` says what a term
is. Classes enter the first term only: images of one class count as similar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.api import Batch, BuildContext, HarnessError, LossParts, ParamGroup, Progress
from harness.kit.heads import OrthogonalHead
from harness.kit.hyperbolic import PoincareBall, ToBall
from harness.kit.precision import at_least_single
from harness.kit.proxies import normal_points
from harness.kit.randomness import generator_of
from harness_hier import METRIC_CARDS, HierParams
from harness_hier.regulariser import (
    Draws,
    ancestor_term,
    draw_triplets,
    gumbel_noise,
    related_points,
    similarity,
)

PUBLISHED_RADIUS = 2.3  # where nothing is clipped, proxies still start at this scale


class HierTerms(NamedTuple):
    """The two terms of the regulariser."""

    data: Float[Tensor, ""]
    proxies: Float[Tensor, ""]


@dataclass(frozen=True, slots=True)
class HierDraws:
    """What is random in a step, for whoever wants to fix it."""

    data: Draws
    proxies: Draws


class HierObjective(nn.Module):
    """HIER: `(batch, progress) -> {"loss", "metric_loss", "hier_loss", …}`.

    State: `hier_proxies` (P, D), points of the tangent space at the origin; the metric loss's own
    under `metric.`. Computed in float32 or better, whatever autocast is in force. Embeddings are
    points of the ball, as the head gives them; those outside are drawn back to its edge.
    """

    def __init__(
        self,
        params: HierParams,
        metric: nn.Module,
        *,
        embedding_dim: int,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial proxies from `generator`, and later triplets and noise."""
        super().__init__()
        self.params = params
        self.metric = metric
        self.into_ball = ToBall(params.c, clip_radius=params.clip_radius, riemannian=True)
        radius = PUBLISHED_RADIUS if params.clip_radius is None else params.clip_radius
        std = 0.9 * radius / math.sqrt(embedding_dim)
        self.hier_proxies = normal_points(
            params.num_proxies, embedding_dim, std=std, generator=generator
        )
        self._generator = generator

    def forward(
        self, batch: Batch, progress: Progress, draws: HierDraws | None = None
    ) -> dict[str, Tensor]:
        """Return the loss and its terms, the latter before their weights.

        Args:
            batch: Embeddings and labels.
            progress: For the metric loss.
            draws: Triplets and noise; None draws them from the generator.
        """
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            embeddings = at_least_single(batch.embeddings)
            terms = self.metric(replace(batch, embeddings=embeddings), progress)
            metric = terms["loss"] if isinstance(terms, Mapping) else terms
            data, proxies = self.regulariser(embeddings, batch.labels, draws)
            hier = data + proxies
            return {
                "loss": self.params.lambda1 * metric + self.params.lambda2 * hier,
                "metric_loss": metric,
                "hier_loss": hier,
                "hier_data": data,
                "hier_proxies": proxies,
            }

    def regulariser(
        self,
        embeddings: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"],
        draws: HierDraws | None = None,
    ) -> HierTerms:
        """Return both terms; one without an anchor is 0."""
        ball, params = self.into_ball.ball, self.params
        z, proxies = ball.project(embeddings), self.into_ball(self.hier_proxies)
        to_proxies, among_proxies = ball.distances(z, proxies), ball.distances(proxies, proxies)
        if draws is None:
            with torch.no_grad():
                generator = self._local_generator(z.device)
                among_data = similarity(ball.distances(z, z), labels)
                draws = HierDraws(
                    self._draw(among_data, to_proxies, generator),
                    self._draw(similarity(among_proxies), among_proxies, generator),
                )
        options = {"tau": params.tau, "margin": params.margin}
        return HierTerms(
            ancestor_term(to_proxies, draws.data, **options),
            ancestor_term(among_proxies, draws.proxies, **options),
        )

    def _draw(self, similarities: Tensor, distances: Tensor, generator: torch.Generator) -> Draws:
        related = related_points(similarities, topk=self.params.topk)
        per_anchor = self.params.triplets_per_anchor
        triplets = draw_triplets(related, per_anchor=per_anchor, generator=generator)
        noise = gumbel_noise(
            len(triplets.first), distances.shape[1], like=distances, generator=generator
        )
        return Draws(triplets, noise)

    def _local_generator(self, device: torch.device) -> torch.Generator:
        """Return the generator, or one beside the data that is seeded from it.

        Draws by the million belong where they are used; a seed is drawn on the host, so that an
        accelerator is not waited for.
        """
        if self._generator.device.type == device.type:
            return self._generator
        seed = int(torch.randint(2**62, (), generator=self._generator))
        return torch.Generator(device).manual_seed(seed)


def assemble(params: HierParams, context: BuildContext) -> LossParts:
    """Return the objective with head, distance, and the authors' groups of parameters.

    The metric loss brings its objective and its groups; a head or a distance of its own is not
    used. Parameters that it puts in no group learn `metric_lr_factor` times as fast.
    """
    metric = build_metric(params, context)
    generator = generator_of(context)
    objective = HierObjective(
        params, metric.objective, embedding_dim=context.embedding_dim, generator=generator
    )
    grouped = {id(each) for group in metric.param_groups for each in group.params}
    rest = [each for each in metric.objective.parameters() if id(each) not in grouped]
    groups = [
        ParamGroup("hier_proxies", [objective.hier_proxies], lr_scale=params.proxy_lr_factor),
        *metric.param_groups,
        *([ParamGroup("metric", rest, lr_scale=params.metric_lr_factor)] if rest else []),
    ]
    return LossParts(
        objective,
        head=build_head(params, context, generator),
        distance=PoincareBall(params.c).distances,
        param_groups=tuple(groups),
    )


def build_head(
    params: HierParams, context: BuildContext, generator: torch.Generator
) -> nn.Module | None:
    """Return layer norm, linear, and the map into the ball; None without a number of features."""
    if context.feature_dim is None:
        return None
    return OrthogonalHead(
        context.feature_dim,
        context.embedding_dim,
        onto=ToBall(params.c, clip_radius=params.clip_radius, riemannian=True),
        layer_norm=True,
        generator=generator,
    )


def build_metric(params: HierParams, context: BuildContext) -> LossParts:
    """Build the metric loss: one of this plugin, or any registered one.

    Losses of this plugin that compute in the ball take its curvature from here.

    Raises:
        HarnessError: The loss is unknown here, or a parameter is.
    """
    values = dict(params.metric_params)
    card = METRIC_CARDS.get(params.metric)
    if card is not None and "c" in card.params.model_fields:
        values.setdefault("c", params.c)
    if context.build_loss is not None:
        return context.build_loss(params.metric, values, context)
    if card is not None:
        return card.build(card.params(**values), context)
    raise HarnessError(
        f"hier cannot find the metric loss {params.metric!r} outside a registry",
        hint='build it with harness.build("loss", "hier", …)',
    )
