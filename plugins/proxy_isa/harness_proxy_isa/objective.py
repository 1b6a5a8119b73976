"""The loss of Proxy-ISA.

Shapes: B batch, C training classes, D embedding, T slots of the memory.

With c_nk the cosine of sample n and proxy k, and m_nk a constant weight of the pair,

    loss = sum_k ln(1 + A_k) / W+  +  sum_k ln(1 + B_k) / W-
    A_k  = sum_{y_n = k}  exp(alpha (delta - c_nk) m_nk)
    B_k  = sum_{y_n != k} exp(alpha (c_nk + delta) m_nk)

where W+ and W- sum, over the classes, the mean weight of a class's positive and negative pairs.
With all weights 1 this is Proxy-Anchor. Weights depend on state per class that each step changes:
how many samples it was trained on, and how similar it is to what the memory holds of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from harness.api import Batch, BuildContext, HarnessError, LossParts, ParamGroup, Progress
from harness.kit.labels import check_labels
from harness.kit.pairs import masked_mean
from harness.kit.proxies import (
    anchor_terms,
    fan_out_points,
    own_class,
    smooth_normalize,
)
from harness.kit.randomness import generator_of
from harness_proxy_isa import ProxyIsaParams
from harness_proxy_isa.memory import PublishedMemory, RingMemory

MEMORIES = {"published": PublishedMemory, "fixed": RingMemory}


class Bands(NamedTuple):
    """What decides the weights of a class's pairs; each (C,).

    Attributes:
        lower: Cosines below are outliers among the positives, and easy among the negatives.
        upper: Cosines above are easy among the positives.
        weight: Of a positive pair outside the band; inside it is one more.
        easy_negative: Weight of a negative pair below the band.
    """

    lower: Float[Tensor, " c"]
    upper: Float[Tensor, " c"]
    weight: Float[Tensor, " c"]
    easy_negative: Float[Tensor, " c"]


def effective_number(
    counter: Int[Tensor, " c"], *, limit: float, like: Tensor
) -> Float[Tensor, " c"]:
    """Return (1 - b^n) / (1 - b) with b = (limit - 1) / limit, in the dtype of `like`.

    That is 0 for n = 0, 1 for n = 1, and tends to `limit`.
    """
    exponent = counter.to(like.dtype) * math.log1p(-1 / limit)
    return -torch.expm1(exponent) * limit


def bands(
    effective: Float[Tensor, " c"], similarity: Float[Tensor, " c"], params: ProxyIsaParams
) -> Bands:
    """Return thresholds and weights from the state of the classes."""
    scarcity = 1 / (1 + torch.log1p(effective))  # u: 1 for a new class
    width = (1 + params.k * (1 - similarity)) * scarcity + params.lam  # eta
    # slides from 1 to u as E nears v; the authors divide by 1 + exp(v - tau - E)
    share = torch.sigmoid(effective + params.tau - params.v)
    weight = 1 + (1 + math.exp(-params.tau)) * (scarcity - 1) * share
    return Bands(similarity - width, similarity, weight, 1 / effective.clamp(min=1))


def pair_weights(
    cosine: Float[Tensor, "b c"], own: Bool[Tensor, "b c"], band: Bands, *, filter_on: bool
) -> Float[Tensor, "b c"]:
    """Return m: constants, for positive pairs all 1 while outliers are not filtered."""
    below = cosine < band.lower
    negative = torch.where(below, band.easy_negative, 1)
    if not filter_on:
        return torch.where(own, 1, negative)
    informative = ~below & (cosine <= band.upper)
    return torch.where(own, band.weight + informative.to(cosine.dtype), negative)


class ProxyIsaObjective(nn.Module):
    """Proxy-ISA: `(batch, progress) -> {"loss", …}` with its sums over classes and weights.

    State: `proxies` (C, D); per class `counter`, the samples it was trained on, and
    `learned_sim`; `memory.features` (T, D), `memory.targets`, `memory.pointer`. A step changes
    the buffers in training mode only. The loss is computed in the dtype of the proxies, whatever
    autocast is in force.
    """

    def __init__(
        self,
        params: ProxyIsaParams,
        *,
        num_classes: int,
        embedding_dim: int,
        generator: torch.Generator,
    ) -> None:
        """Draw the proxies from `generator`.

        Raises:
            HarnessError: There are fewer than two classes, so that no pair is negative.
        """
        super().__init__()
        if num_classes < 2:  # noqa: PLR2004 - a negative needs another class
            raise HarnessError(f"proxy_isa needs at least 2 training classes, got {num_classes}")
        self.params = params
        self.proxies = fan_out_points(num_classes, embedding_dim, generator=generator)
        self.register_buffer("counter", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("learned_sim", torch.ones(num_classes))
        self.counter: Tensor
        self.learned_sim: Tensor
        self.memory = MEMORIES[params.memory](params.memory_size, embedding_dim)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Take a step with the memory and the filter that the epoch says.

        Raises:
            HarnessError: Labels are out of range, or the batch is larger than the memory.
        """
        return self.step(
            batch,
            memory_on=progress.epoch >= self.params.memory_epoch,
            filter_on=progress.epoch >= self.params.filter_epoch,
        )

    def step(self, batch: Batch, *, memory_on: bool, filter_on: bool) -> dict[str, Tensor]:
        """Return the loss and its parts, then update the state.

        All weights are from the state before the step. Outliers take part in the loss; they are
        neither counted nor remembered.
        """
        params, labels = self.params, batch.labels
        check_labels(labels, len(self.proxies))
        with torch.autocast(batch.embeddings.device.type, enabled=False):
            embeddings = batch.embeddings.to(self.proxies.dtype)
            if params.normalize_embeddings:
                embeddings = functional.normalize(embeddings)
            proxies = smooth_normalize(self.proxies)
            cosine = embeddings @ proxies.T
            own = own_class(labels, len(proxies))
            band = bands(self.effective_num(), self.learned_sim, params)
            weights = pair_weights(cosine.detach(), own, band, filter_on=filter_on)
            terms = anchor_terms(
                cosine, own, alpha=params.alpha, delta=params.delta, weights=weights
            )
            sums = {
                "pos_term_sum": terms.positive.sum(),
                "neg_term_sum": terms.negative.sum(),
                "pos_weight_sum": masked_mean(weights, own, dim=0).sum(),
                "neg_weight_sum": masked_mean(weights, ~own, dim=0).sum(),
            }
        loss = sums["pos_term_sum"] / sums["pos_weight_sum"]
        loss = loss + sums["neg_term_sum"] / sums["neg_weight_sum"]
        if self.training:
            true_cosine = cosine.detach().gather(1, labels[:, None]).squeeze(1)
            kept = (
                true_cosine >= band.lower[labels]
                if filter_on
                else torch.ones_like(labels, dtype=torch.bool)
            )
            self._update(embeddings.detach(), labels, kept, proxies.detach(), memory_on=memory_on)
        return {"loss": loss, **sums}

    def effective_num(self) -> Float[Tensor, " c"]:
        """Return the effective number of samples of each class."""
        return effective_number(self.counter, limit=self.params.v, like=self.proxies)

    @torch.no_grad()
    def _update(
        self,
        embeddings: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"],
        kept: Bool[Tensor, " b"],
        proxies: Float[Tensor, "c d"],
        *,
        memory_on: bool,
    ) -> None:
        """Count and remember the kept samples, and renew the similarity of their classes."""
        seen = torch.zeros_like(self.counter).index_add_(0, labels, kept.to(torch.int64))
        self.counter += seen
        if not memory_on:
            return
        self.memory.write(embeddings, labels, kept)
        similarity, count = self._similarity_to_memory(proxies)
        renewed = (seen > 0) & (count > 0)
        self.learned_sim.copy_(torch.where(renewed, self.params.h * similarity, self.learned_sim))

    def _similarity_to_memory(
        self, proxies: Float[Tensor, "c d"]
    ) -> tuple[Float[Tensor, " c"], Int[Tensor, " c"]]:
        """Return the mean cosine of each proxy and its remembered samples, and their number.

        Sums per class come first, then one product per class: no second (T, D) tensor exists.
        """
        filled, nothing = self.memory.filled(), len(proxies)
        target = torch.where(filled, self.memory.targets, nothing)  # one more class for the rest
        sums = proxies.new_zeros(nothing + 1, proxies.shape[1])
        sums.index_add_(0, target, self.memory.features)
        count = self.counter.new_zeros(nothing + 1)
        count.index_add_(0, target, torch.ones_like(target))
        mean = (proxies * sums[:nothing]).sum(1) / count[:nothing].clamp(min=1)
        return mean, count[:nothing]


def assemble(params: ProxyIsaParams, context: BuildContext) -> LossParts:
    """Return the objective with the learning rate of the authors' proxies."""
    objective = ProxyIsaObjective(
        params,
        num_classes=context.num_classes,
        embedding_dim=context.embedding_dim,
        generator=generator_of(context),
    )
    proxies = ParamGroup("proxies", [objective.proxies], lr_scale=params.lr_scale)
    return LossParts(objective=objective, param_groups=(proxies,))
