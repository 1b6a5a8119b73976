"""The metric losses that HIER's code regularises, under its names and with its formulas.

All but SupCon and the hyperbolic MS see the direction of an embedding only.

Shapes: B batch, C training classes, D embedding, K centres of a class.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, Progress
from harness.kit.hyperbolic import PoincareBall
from harness.kit.labels import check_labels
from harness.kit.pairs import log_one_plus_sum_exp, negative_pairs, positive_pairs
from harness.kit.partners import place_terms
from harness.kit.precision import at_least_single
from harness.kit.proxies import anchor_terms, fan_out_points, own_class, uniform_points


class ProxyAnchor(nn.Module):
    """PA: positive terms averaged over the classes in the batch, negative ones over all."""

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        alpha: float,
        margin: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.alpha, self.margin = alpha, margin
        self.proxies = fan_out_points(num_classes, dim, generator=generator)

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        cosine, own = self.cosines(batch)
        positive, negative = anchor_terms(cosine, own, alpha=self.alpha, delta=self.margin)
        return positive.sum() / own.any(0).sum() + negative.mean()

    def cosines(self, batch: Batch) -> tuple[Float[Tensor, "b c"], Bool[Tensor, "b c"]]:
        """Return the cosine of each sample and proxy, and which proxy is its own."""
        num_classes = len(self.proxies)
        check_labels(batch.labels, num_classes)
        z = functional.normalize(batch.embeddings.to(self.proxies.dtype))
        return z @ functional.normalize(self.proxies).T, own_class(batch.labels, num_classes)


class ProxySamples(ProxyAnchor):
    """PNCA of HIER's code: the terms of PA by sample instead of by proxy; not Proxy-NCA."""

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        cosine, own = self.cosines(batch)
        pull = log_one_plus_sum_exp(self.alpha * (self.margin - cosine), own)
        push = log_one_plus_sum_exp(self.alpha * (self.margin + cosine), ~own)
        return (pull + push).mean()


class MultiSimilarity(nn.Module):
    """MS over all pairs of a batch: cosines, compared with a fixed base."""

    def __init__(self, *, alpha: float, beta: float, base: float) -> None:
        super().__init__()
        self.alpha, self.beta, self.base = alpha, beta, base

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        z = functional.normalize(at_least_single(batch.embeddings))
        return self.of_similarities(z @ z.T - self.base, batch)

    def of_similarities(self, centred: Float[Tensor, "b b"], batch: Batch) -> Float[Tensor, ""]:
        """Return the loss of similarities from which the base is subtracted."""
        pull = log_one_plus_sum_exp(-self.alpha * centred, positive_pairs(batch.labels))
        push = log_one_plus_sum_exp(self.beta * centred, negative_pairs(batch.labels))
        return (pull / self.alpha + push / self.beta).mean()


class HyperbolicMultiSimilarity(MultiSimilarity):
    """MS with s = -d in the ball (cosine-like x . y for c = 0); the base is their mean.

    The mean is over the batch's pairs, the diagonal left out, and has a gradient.
    """

    def __init__(self, *, alpha: float, beta: float, c: float) -> None:
        super().__init__(alpha=alpha, beta=beta, base=0.0)
        self.c = c

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        similarities = ball_similarities(batch.embeddings, self.c)
        size = len(similarities)
        off_diagonal = similarities.sum() - similarities.trace()
        return self.of_similarities(similarities - off_diagonal / max(1, size * (size - 1)), batch)


class SoftTriple(nn.Module):
    """SoftTriple: K centres of each class, of which a sample takes a soft choice.

    State: `fc` (D, C K), the centres of a class next to each other.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        centers_per_class: int,
        la: float,
        gamma: float,
        margin: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.la, self.gamma, self.margin = la, gamma, margin
        count = num_classes * centers_per_class
        bound = 1 / math.sqrt(count)
        self.fc = uniform_points(dim, count, bound=bound, generator=generator)

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        check_labels(batch.labels, self.num_classes)
        z = functional.normalize(batch.embeddings.to(self.fc.dtype))
        cosine = (z @ functional.normalize(self.fc, dim=0)).unflatten(1, (self.num_classes, -1))
        of_class = ((cosine / self.gamma).softmax(2) * cosine).sum(2)
        own = own_class(batch.labels, self.num_classes).to(of_class.dtype)
        return functional.cross_entropy(self.la * (of_class - self.margin * own), batch.labels)


class SupCon(nn.Module):
    """The loss of Hyp over m images of each class, divided by m^2 (not by m (m - 1))."""

    def __init__(self, *, tau: float, c: float) -> None:
        super().__init__()
        self.tau, self.c = tau, c

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss."""
        similarities = ball_similarities(batch.embeddings, self.c) / self.tau
        total, num_places = place_terms(similarities, batch.labels)
        return total / num_places**2


def ball_similarities(embeddings: Float[Tensor, "b d"], c: float) -> Float[Tensor, "b b"]:
    """Return -d of every pair in the ball of curvature -c, or inner products for c = 0."""
    z = at_least_single(embeddings)
    if not c:
        return z @ z.T
    ball = PoincareBall(c)
    z = ball.project(z)
    return -ball.distances(z, z)
