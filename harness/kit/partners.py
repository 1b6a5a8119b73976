"""Cross-entropy between the places that images have in their classes (Hyp; SupCon of HIER).

The k-th image of a class in a batch is at place k. For two places a and b, each image i at place
a of a class that has a place b, too, must find its partner j there among all images at places a
and b but itself:

    e_ij = -log( exp(s_ij) / sum over k != i at place a or b of exp(s_ik) )

and the term of (a, b) is the mean over those images. The published code takes batches in which
every class has m images and lies in rows of its own; then this is its loss. Images at other
places are ignored by a term, so with three or more places the order of a batch matters.

Shapes: B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.kit.pairs import positive_pairs, same_class


class PlaceTerms(NamedTuple):
    """What the pairs of places add up to.

    Attributes:
        total: Sum of the terms of all ordered pairs of places; 0 without a pair.
        num_places: m, the number of images of the largest class.
    """

    total: Float[Tensor, ""]
    num_places: Int[Tensor, ""]


def places(labels: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Return how many earlier rows of the batch are of the same class."""
    return same_class(labels).tril(diagonal=-1).sum(1)


def partner_entropies(
    similarities: Float[Tensor, "b b"], labels: Int[Tensor, " b"]
) -> Float[Tensor, "b b"]:
    """Return e_ij where j is another image of i's class, 0 elsewhere.

    One matrix of similarities serves all pairs of places, and no shape depends on the labels.
    """
    lowest = torch.finfo(similarities.dtype).min
    place = places(labels)
    column_place = place.expand_as(similarities)
    itself = torch.eye(len(labels), device=labels.device).bool()
    others = similarities.masked_fill(itself, lowest)
    # log-sum-exp over the columns of each place; its peaks are constants of the gradient
    peaks = torch.full_like(others, lowest).scatter_reduce(
        1, column_place, others.detach(), "amax"
    )
    at_place = same_class(place, torch.arange(len(labels), device=labels.device))
    exponentials = (others - peaks.gather(1, column_place)).exp().masked_fill(itself, 0)
    sums = exponentials @ at_place.to(others.dtype)

    own_peak, their_peak = peaks.gather(1, place[:, None]), peaks.gather(1, column_place)
    peak = torch.maximum(own_peak, their_peak)
    own = sums.gather(1, place[:, None]) * (own_peak - peak).exp()
    theirs = sums.gather(1, column_place) * (their_peak - peak).exp()
    partners = positive_pairs(labels)
    total = torch.where(partners, own + theirs, 1)
    return torch.where(partners, total.log() + peak - similarities, 0)


def place_terms(similarities: Float[Tensor, "b b"], labels: Int[Tensor, " b"]) -> PlaceTerms:
    """Return the sum over ordered pairs of places of the mean of e_ij, and how many there are."""
    place = places(labels)
    later = torch.maximum(place[:, None], place)
    num_at_place = same_class(torch.arange(len(labels), device=labels.device), place).sum(1)
    # a class has both places if it has the later one
    weighted = partner_entropies(similarities, labels) / num_at_place[later].clamp(min=1)
    return PlaceTerms(weighted.sum(), (num_at_place > 0).sum())
