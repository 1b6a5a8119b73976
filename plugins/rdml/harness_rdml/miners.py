"""The miners at work: pools and probabilities from `miner_pools`, draws from one generator.

An anchor without a candidate gives no triplet; the authors' code raises there or makes one of
NaN. A batch of one class gives none at all, except where a miner needs no negative.

Shapes: B batch, A anchors.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from harness.api import Batch, Pairs, Progress, Triplets
from harness.kit.pairs import negative_pairs, positive_pairs
from harness_rdml import miner_pools as pools


def choose(weights: Float[Tensor, "a b"], generator: Generator) -> Int[Tensor, " a"]:
    """Draw one column of each row with probability in proportion to its weight.

    The column whose weight over an exponential variate is largest is that draw. A weight of 0 is
    never drawn from a row with a positive one. Variates come from the generator's device, so that
    one generator serves any device.
    """
    race = torch.empty(weights.shape, dtype=weights.dtype, device=generator.device)
    race.exponential_(generator=generator)
    return (weights / race.to(weights.device, non_blocking=True)).argmax(1)


def choose_from(pool: Bool[Tensor, "a b"], generator: Generator) -> Int[Tensor, " a"]:
    """Draw one column of each row, uniformly from those in the pool."""
    return choose(pool.to(torch.get_default_dtype()), generator)


def choose_triplets(
    positives: Bool[Tensor, "b b"], negatives: Float[Tensor, "b b"], generator: Generator
) -> Triplets:
    """Draw a uniform positive and a weighted negative for every anchor that has both."""
    anchor = (positives.any(1) & (negatives > 0).any(1)).nonzero().squeeze(1)
    positive = choose_from(positives[anchor], generator)
    return Triplets(anchor, positive, choose(negatives[anchor], generator))


class RandomMiner:
    """Draw B of all ordered triplets, without replacement; all of them if there are fewer."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return B triplets of distinct (anchor, positive, negative)."""
        ends = pools.triplet_ends(batch.labels)[1]
        total = int(ends[-1]) if len(ends) else 0
        device = self._generator.device
        order = torch.randperm(total, generator=self._generator, device=device)
        numbers = order[: len(batch.labels)].to(batch.labels.device)
        return pools.numbered_triplets(batch.labels, numbers)


class SemihardMiner:
    """Draw a partner, then a negative a little farther away; see `semihard_pool`."""

    def __init__(self, generator: Generator, *, margin: float, squared: bool) -> None:
        self._generator = generator
        self._margin = margin
        self._squared = squared

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor that has a partner and a negative."""
        positives, negatives = positive_pairs(batch.labels), negative_pairs(batch.labels)
        anchor = (positives.any(1) & negatives.any(1)).nonzero().squeeze(1)
        positive = choose_from(positives[anchor], self._generator)
        distance = pools.distances(batch.embeddings)
        distance = distance.square() if self._squared else distance
        pool, _ = pools.semihard_pool(
            distance[anchor], distance[anchor, positive], negatives[anchor], self._margin
        )
        return Triplets(anchor, positive, choose_from(pool, self._generator))


class SofthardMiner:
    """Draw a far partner and a near negative; see `softhard_pools`."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor that has a partner and a negative."""
        distance = pools.distances(batch.embeddings)
        positives, negatives = pools.softhard_pools(distance, batch.labels)
        return choose_triplets(positives, negatives.to(distance.dtype), self._generator)


class DistanceMiner:
    """Draw a partner and a negative evenly over its distance (arXiv:1706.07567).

    An image alone in its class is its own positive, as in the authors' code.
    """

    def __init__(
        self, generator: Generator, *, lower_cutoff: float, upper_cutoff: float | None
    ) -> None:
        self._generator = generator
        self._lower_cutoff = lower_cutoff
        self._upper_cutoff = upper_cutoff

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor that has a negative."""
        positives = pools.partners_or_self(batch.labels)
        return choose_triplets(
            positives, self.negatives(batch.embeddings, batch.labels), self._generator
        )

    def negatives(
        self, embeddings: Float[Tensor, "b d"], labels: Int[Tensor, " b"]
    ) -> Float[Tensor, "b b"]:
        """Return how likely each row is the negative of each anchor."""
        return pools.distance_probability(
            pools.distances(embeddings),
            negative_pairs(labels),
            dim=embeddings.shape[1],
            lower_cutoff=self._lower_cutoff,
            upper_cutoff=self._upper_cutoff,
        )


class RhoDistanceMiner(DistanceMiner):
    """As `DistanceMiner`, but with probability cp the triplet is (a, a, j), j a partner of a.

    Such a triplet pushes an image of the anchor's own class away, against the collapse of classes
    (arXiv:2002.08473, section 5).
    """

    def __init__(
        self,
        generator: Generator,
        *,
        lower_cutoff: float,
        upper_cutoff: float | None,
        cp: float,
    ) -> None:
        super().__init__(generator, lower_cutoff=lower_cutoff, upper_cutoff=upper_cutoff)
        self._cp = cp

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor that has a partner and, to be pulled, a negative."""
        source, labels = self._generator, batch.labels
        partners = positive_pairs(labels)
        likely = self.negatives(batch.embeddings, labels)
        uniform = torch.rand(len(labels), generator=source, device=source.device)
        pushed = (uniform < self._cp).to(labels.device)
        keep = partners.any(1) & (pushed | (likely > 0).any(1))
        anchor = keep.nonzero().squeeze(1)
        partner = choose_from(partners[anchor], source)
        negative = choose(likely[anchor], source)
        pushed = pushed[anchor]
        return Triplets(
            anchor, torch.where(pushed, anchor, partner), torch.where(pushed, partner, negative)
        )


class RandomDistanceMiner(DistanceMiner):
    """`DistanceMiner` after a permutation of the labels, without images alone in their class."""

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor with a partner and a negative by its new label."""
        source = self._generator
        order = torch.randperm(len(batch.labels), generator=source, device=source.device)
        labels = batch.labels[order.to(batch.labels.device)]
        likely = self.negatives(batch.embeddings, labels)
        return choose_triplets(positive_pairs(labels), likely, source)


class ParametricMiner(nn.Module):
    """Draw a partner and a negative by the bin of its distance (arXiv:2003.11113).

    The bins are fixed: the policy that learns them is not in the code this follows. They are
    buffers, so a checkpoint holds them and whoever learns them changes them in place.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(
        self,
        generator: Generator,
        *,
        mode: str,
        n_support: int,
        support_lim: tuple[float, float],
    ) -> None:
        super().__init__()
        self._generator = generator
        nodes = pools.support_nodes(n_support, support_lim)
        self.register_buffer("nodes", torch.from_numpy(nodes))
        self.register_buffer("weights", torch.from_numpy(pools.bin_weights(mode, nodes)))

    def forward(self, batch: Batch, progress: Progress) -> Triplets:
        """Return one triplet for each anchor that has a partner and a negative."""
        likely = pools.bin_probability(
            pools.distances(batch.embeddings),
            negative_pairs(batch.labels),
            nodes=self.nodes,
            weights=self.weights,
        )
        return choose_triplets(positive_pairs(batch.labels), likely, self._generator)


class IntraRandomMiner:
    """Draw B times a class of the batch and, with replacement, three of its images."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, batch: Batch, progress: Progress) -> Triplets:
        """Return B triplets; anchor, positive and negative are of one class and may coincide."""
        source, members = self._generator, pools.class_members(batch.labels)
        drawn = torch.randint(
            len(members), batch.labels.shape, generator=source, device=source.device
        )
        pool = members[drawn.to(members.device)]
        return Triplets(*(choose_from(pool, source) for _ in range(3)))


class NPairMiner:
    """Draw a partner of each anchor; all rows of other classes are its negatives."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def __call__(self, batch: Batch, progress: Progress) -> Pairs:
        """Return one positive and all negative pairs of each anchor with a partner."""
        positives = positive_pairs(batch.labels)
        with_partner = positives.any(1)
        anchor = with_partner.nonzero().squeeze(1)
        negatives = negative_pairs(batch.labels) & with_partner[:, None]
        return Pairs(
            anchor,
            choose_from(positives[anchor], self._generator),
            *negatives.nonzero(as_tuple=True),
        )


class LiftedMiner:
    """Take all pairs of each anchor that has a partner; nothing is drawn."""

    def __init__(self, generator: Generator) -> None:
        del generator  # every miner is given one

    def __call__(self, batch: Batch, progress: Progress) -> Pairs:
        """Return all positive and all negative pairs of each anchor with a partner."""
        positives = positive_pairs(batch.labels)
        negatives = negative_pairs(batch.labels) & positives.any(1)[:, None]
        return Pairs(*positives.nonzero(as_tuple=True), *negatives.nonzero(as_tuple=True))
