"""Adversarial separation of the parts of an embedding, as DiVA uses it (arXiv:2004.13458).

Shapes: B batch, D embedding, E part of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, HarnessError, LossParts, ParamGroup, Progress
from harness.kit.precision import full_precision
from harness.kit.randomness import generator_of
from harness_rdml.criterion_params import MultiSimilarityParams, SeparationParams
from harness_rdml.pair_criteria import multi_similarity_loss


def reverse_gradient(values: Tensor) -> Tensor:
    """Return the values, to the last bit; what flows back to them has the other sign."""
    return 2 * values.detach() - values


class AdversarialSeparation(nn.Module):
    """Regressors from one part of the embedding to another, which the parts try to defeat.

    For a direction source-target of weight w the loss is

        -w mean((n(x_target) * n(regressor(n(x_source))))^2)

    over coordinates and batch, with n scaling rows to unit length. Regressors minimise it, and
    gradients to the embeddings change sign. State: `regressors.{source}-{target}.0` and `.2`.
    """

    def __init__(self, directions: Mapping[str, float], regressors: nn.ModuleDict) -> None:
        """Keep the weight and the regressor of each direction."""
        super().__init__()
        self.directions = dict(directions)
        self.regressors = regressors

    def forward(self, parts: Mapping[str, Float[Tensor, "b e"]]) -> Float[Tensor, ""]:
        """Return the loss of the parts of a batch of embeddings by name."""
        unit = {name: functional.normalize(reverse_gradient(part)) for name, part in parts.items()}
        losses: list[Tensor] = []
        for direction, weight in self.directions.items():
            source, target = direction.split("-")
            predicted = functional.normalize(self.regressors[direction](unit[source]))
            losses.append(-weight * (unit[target] * predicted).square().mean())
        return torch.stack(losses).sum()


class SeparationObjective(nn.Module):
    """An embedding of equal parts, each of which separates classes, and all of which differ.

    The criterion of the authors' code says nothing about classes. Here multi-similarity on each
    part, scaled to unit length, does: its mean over the parts enters with `base_weight`.
    """

    def __init__(self, params: SeparationParams, separation: AdversarialSeparation) -> None:
        """Keep the criterion under `separation` in the state."""
        super().__init__()
        self.params = params
        self.separation = separation

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss and its two terms; `base_term` is not yet weighted."""
        with full_precision(batch.embeddings) as embeddings:
            parts = embeddings.chunk(len(self.params.parts), dim=1)
            separation = self.separation(dict(zip(self.params.parts, parts, strict=True)))
            base = torch.stack([self.class_loss(part, batch.labels) for part in parts]).mean()
        loss = separation + self.params.base_weight * base
        return {"loss": loss, "separation_term": separation, "base_term": base}

    def class_loss(
        self, part: Float[Tensor, "b e"], labels: Int[Tensor, " b"]
    ) -> Float[Tensor, ""]:
        """Return multi-similarity of one part of the embeddings."""
        batch = Batch(functional.normalize(part), labels)
        return multi_similarity_loss(batch, params=MultiSimilarityParams())


def regressor(dim: int, hidden: int, generator: torch.Generator) -> nn.Sequential:
    """Return linear - ReLU - linear from a part to another, as torch initialises it."""
    # made without values, because torch would draw them from its global stream
    with torch.device("meta"):
        layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
    layers = layers.to_empty(device=generator.device)
    for inputs, layer in ((dim, layers[0]), (hidden, layers[2])):
        for parameter in layer.parameters():
            bound = 1 / math.sqrt(inputs)
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layers


def make_separation(
    directions: Sequence[str],
    weights: Sequence[float],
    *,
    dim: int,
    hidden: int,
    generator: torch.Generator,
) -> AdversarialSeparation:
    """Return the criterion for parts of width `dim`."""
    regressors = nn.ModuleDict({name: regressor(dim, hidden, generator) for name in directions})
    return AdversarialSeparation(dict(zip(directions, weights, strict=True)), regressors)


def build_separation(params: SeparationParams, context: BuildContext) -> LossParts:
    """Build `rdml_adversarial_separation`.

    Raises:
        HarnessError: The embedding cannot be cut into parts of equal width.
    """
    num_parts = len(params.parts)
    dim, rest = divmod(context.embedding_dim, num_parts)
    if rest:
        raise HarnessError(
            f"an embedding of {context.embedding_dim} numbers has no {num_parts} equal parts",
            hint=f"an embedding size that {num_parts} divides",
        )
    separation = make_separation(
        params.directions,
        params.weights,
        dim=dim,
        hidden=params.proj_dim,
        generator=generator_of(context),
    )
    group = ParamGroup(
        "regressors", list(separation.parameters()), lr_scale=params.lr_scale, weight_decay=0.0
    )
    return LossParts(SeparationObjective(params, separation), param_groups=(group,))
