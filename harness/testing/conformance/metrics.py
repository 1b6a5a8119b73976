"""Checks of a metric.

Shapes: Q queries, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.evaluation.embedding import Embeddings
from harness.evaluation.neighbours import rank
from harness.evaluation.ranking import Ranking
from harness.specs import MetricSpec, Params
from harness.testing.conformance.report import NotApplicableError

NUM_CLASSES, IMAGES_PER_CLASS, EMBEDDING_DIM = 5, 8, 8


@dataclass(frozen=True, slots=True)
class MetricTrial:
    """A metric under test."""

    card: MetricSpec
    params: Params

    @classmethod
    def of(cls, card: MetricSpec, params: Params) -> MetricTrial:
        """Take a `k` that no metric finds too small."""
        if "k" in card.params.model_fields:
            params = card.params.model_validate({**params.model_dump(), "k": IMAGES_PER_CLASS})
        return cls(card, params)

    def value(self, spread: float, *, seed: int = 0, order: Tensor | None = None) -> float:
        """Return the metric of classes whose images lie so far from their centre."""
        metric: Callable[[Ranking], float] = self.card.build(self.params, None)
        return metric(toy_ranking(spread, seed=seed, order=order))


def toy_ranking(spread: float, *, seed: int = 0, order: Tensor | None = None) -> Ranking:
    """Return the ranking of a small set; with spread 0 every class is one point."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(NUM_CLASSES).repeat_interleave(IMAGES_PER_CLASS)
    noise = torch.randn(len(labels), EMBEDDING_DIM, generator=generator)
    values = torch.eye(NUM_CLASSES, EMBEDDING_DIM)[labels] + spread * noise
    rows = torch.arange(len(labels)) if order is None else order
    items = Embeddings(values[rows], labels[rows], torch.arange(len(labels))[rows])
    return rank(items, items)


PERFECT, FAIR, HOPELESS = 0.0, 0.4, 100.0


def value_is_in_bounds(trial: MetricTrial) -> str | None:
    """Expect a float inside the declared bounds, for good and for bad embeddings."""
    low, high = trial.card.bounds
    for spread in (PERFECT, FAIR, HOPELESS):
        value = trial.value(spread)
        if not isinstance(value, float):
            return f"the value is of type {type(value).__name__}, not float"
        if not math.isfinite(value) or not low - 1e-9 <= value <= high + 1e-9:
            return f"the value {value} is not in [{low:g}, {high:g}]"
    return None


def order_of_the_queries_does_not_matter(trial: MetricTrial) -> str | None:
    """Expect the same value of the same set in another order."""
    order = torch.randperm(
        NUM_CLASSES * IMAGES_PER_CLASS, generator=torch.Generator().manual_seed(1)
    )
    one, other = trial.value(FAIR), trial.value(FAIR, order=order)
    return None if math.isclose(one, other, rel_tol=1e-6) else f"{one} becomes {other}"


def asking_again_gives_the_same(trial: MetricTrial) -> str | None:
    """Expect equal bits from equal embeddings."""
    one, other = trial.value(FAIR), trial.value(FAIR)
    return None if one == other else f"{one} becomes {other}"


def better_embeddings_score_better(trial: MetricTrial) -> str | None:
    """Expect tight classes to beat noise in the direction that the card declares."""
    if trial.card.bounds[1] == math.inf:
        raise NotApplicableError("a diagnostic without an upper bound ranks nothing")
    good, bad = trial.value(FAIR / 2), trial.value(HOPELESS)
    better = good > bad if trial.card.higher_is_better else good < bad
    return None if better else f"tight classes score {good:.4g}, noise scores {bad:.4g}"


METRIC_CHECKS = (
    value_is_in_bounds,
    order_of_the_queries_does_not_matter,
    asking_again_gives_the_same,
    better_embeddings_score_better,
)
