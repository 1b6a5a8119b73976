"""Proxy-Anchor as its authors' code computes it.

Shapes: B batch, C training classes, D embedding.

With c_nk the cosine of sample n and proxy k, and K+ the classes in the batch,

    loss = 1 / |K+| sum_k ln(1 + sum_{y_n = k}  exp(-alpha (c_nk - margin)))
         + 1 / C    sum_k ln(1 + sum_{y_n != k} exp( alpha (c_nk + margin)))

The class of pytorch-metric-learning agrees except near the origin: it clamps norms where the
authors add 1e-12 under the root, so gradients of a zero embedding differ by a factor of 1e6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.api import Batch, BuildContext, LossParts, ParamGroup, Progress
from harness.kit.labels import check_labels
from harness.kit.proxies import anchor_terms, fan_out_points, own_class, smooth_normalize
from harness.kit.randomness import generator_of
from harness_pml.own_losses import ProxyAnchorParams


class ProxyAnchorObjective(nn.Module):
    """Proxy-Anchor: `(batch, progress) -> {"loss", "pos_term", "neg_term"}`.

    Computed in the dtype of its `proxies` (C, D), whatever autocast is in force.
    """

    def __init__(self, params: ProxyAnchorParams, proxies: nn.Parameter) -> None:
        super().__init__()
        self.params = params
        self.proxies = proxies

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Return the loss and its two terms.

        Raises:
            HarnessError: A label is out of range.
        """
        num_classes = len(self.proxies)
        check_labels(batch.labels, num_classes)
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            embeddings = smooth_normalize(batch.embeddings.to(self.proxies.dtype))
            cosine = embeddings @ smooth_normalize(self.proxies).T
            own = own_class(batch.labels, num_classes)
            alpha, margin = self.params.alpha, self.params.margin
            terms = anchor_terms(cosine, own, alpha=alpha, delta=margin)
            pos_term = terms.positive.sum() / own.any(0).sum()
            neg_term = terms.negative.mean()
        return {"loss": pos_term + neg_term, "pos_term": pos_term, "neg_term": neg_term}


def assemble(params: ProxyAnchorParams, context: BuildContext) -> LossParts:
    """Return the objective with the learning rate of the authors' proxies."""
    proxies = fan_out_points(
        context.num_classes, context.embedding_dim, generator=generator_of(context)
    )
    return LossParts(
        objective=ProxyAnchorObjective(params, proxies),
        param_groups=(ParamGroup("loss", [proxies], lr_scale=params.lr_scale),),
    )
