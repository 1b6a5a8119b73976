"""DR-ProxyNCA.

Shapes: B batch, C training classes, D embedding.

With r_nk the distance of sample n to proxy k, and g_nk the cosine of its directions to proxy k and
to its own proxy,

    loss = mean_n [ r_{n,y_n} + ln sum_{k != y_n} exp(-r_nk - gamma g_nk) ]

The own proxy is not in the sum, so the loss may be negative.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, HarnessError, LossParts, ParamGroup, Progress
from harness.kit.labels import check_labels
from harness.kit.proxies import own_class, squared_distances, unit_points
from harness.kit.randomness import generator_of
from harness_direction import DrProxyNcaParams


def distances_and_cosines(
    embeddings: Float[Tensor, "b d"],
    proxies: Float[Tensor, "c d"],
    labels: Int[Tensor, " b"],
    own: Bool[Tensor, "b c"],
    *,
    eps: float,
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Return r and g without a (B, C, D) tensor; distances are at least `eps`.

    Products are expanded, except for the own proxy, to which training makes a sample come near.
    """
    to_own = proxies[labels] - embeddings
    own_square = to_own.square().sum(1, keepdim=True)
    square = torch.where(own, own_square, squared_distances(embeddings, proxies))
    distance = square.clamp(min=eps**2).sqrt()
    # (P_k - x) . (P_y - x)
    product = to_own @ proxies.T - (to_own * embeddings).sum(1, keepdim=True)
    return distance, product / (distance * own_square.clamp(min=eps**2).sqrt())


class ProxyNcaObjective(nn.Module):
    """DR-ProxyNCA: `(batch, progress) -> loss`, in the dtype of its `proxies` (C, D)."""

    def __init__(
        self,
        params: DrProxyNcaParams,
        *,
        num_classes: int,
        embedding_dim: int,
        generator: torch.Generator,
    ) -> None:
        """Draw the proxies from `generator`.

        Raises:
            HarnessError: There are fewer than two classes, so that no proxy is another's.
        """
        super().__init__()
        if num_classes < 2:  # noqa: PLR2004 - a negative needs another class
            raise HarnessError(
                f"dr_proxy_nca needs at least 2 training classes, got {num_classes}"
            )
        self.params = params
        self.proxies = unit_points(num_classes, embedding_dim, generator=generator)

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss.

        Raises:
            HarnessError: A label is out of range.
        """
        params, labels = self.params, batch.labels
        check_labels(labels, len(self.proxies))
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            embeddings, proxies = batch.embeddings.to(self.proxies.dtype), self.proxies
            if params.normalize_embeddings:
                embeddings = functional.normalize(embeddings)
            if params.normalize_proxies:
                proxies = functional.normalize(proxies)
            own = own_class(labels, len(proxies))
            distance, cosine = distances_and_cosines(
                embeddings, proxies, labels, own, eps=params.eps
            )
            if params.squared_distance:
                distance = distance.square()
            others = (-distance - params.gamma * cosine).masked_fill(own, -torch.inf)
            pull = distance.gather(1, labels[:, None]).squeeze(1)
            return (pull + others.logsumexp(1)).mean()


def assemble(params: DrProxyNcaParams, context: BuildContext) -> LossParts:
    """Return the objective; its proxies have no weight decay, as published."""
    objective = ProxyNcaObjective(
        params,
        num_classes=context.num_classes,
        embedding_dim=context.embedding_dim,
        generator=generator_of(context),
    )
    proxies = ParamGroup(
        "proxies", [objective.proxies], lr_scale=params.lr_scale, weight_decay=0.0
    )
    return LossParts(objective=objective, param_groups=(proxies,))
