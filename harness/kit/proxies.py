"""Learnable points that stand for classes, and how far embeddings are from them.

Every initialisation draws from the given generator alone.

Shapes: B batch, C classes (or any number of points), D embedding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from harness.kit.pairs import log_one_plus_sum_exp

# --- initial values -----------------------------------------------------------------------------


def normal_points(
    count: int, dim: int, *, std: float, generator: torch.Generator
) -> Float[nn.Parameter, "count dim"]:
    """Return points whose coordinates are Normal(0, std^2)."""
    values = torch.empty(count, dim, device=generator.device)
    return nn.Parameter(values.normal_(0, std, generator=generator))


def fan_out_points(
    count: int, dim: int, *, generator: torch.Generator
) -> Float[nn.Parameter, "count dim"]:
    """Return points whose coordinates are Normal(0, 2 / count).

    So start the proxies of Proxy-Anchor, Proxy-ISA and HIER, and the distributions of HIST: the
    "fan out" of a (count, dim) matrix is its number of rows.
    """
    return normal_points(count, dim, std=math.sqrt(2 / count), generator=generator)


def unit_points(
    count: int, dim: int, *, generator: torch.Generator
) -> Float[nn.Parameter, "count dim"]:
    """Return points that are uniform on the unit sphere."""
    values = torch.empty(count, dim, device=generator.device).normal_(generator=generator)
    return nn.Parameter(nn.functional.normalize(values))


def uniform_points(
    count: int, dim: int, *, bound: float, generator: torch.Generator
) -> Float[nn.Parameter, "count dim"]:
    """Return points whose coordinates are uniform in [-bound, bound]."""
    values = torch.empty(count, dim, device=generator.device)
    return nn.Parameter(values.uniform_(-bound, bound, generator=generator))


# --- comparisons --------------------------------------------------------------------------------


def own_class(labels: Int[Tensor, " b"], num_classes: int) -> Bool[Tensor, "b c"]:
    """Return where a column is the class of a row; two columns for two classes, not one."""
    return labels[:, None] == torch.arange(num_classes, device=labels.device)


def smooth_normalize(
    points: Float[Tensor, "*batch d"], *, epsilon: float = 1e-12
) -> Float[Tensor, "*batch d"]:
    """Return x / sqrt(sum x^2 + epsilon), as the code of Proxy-Anchor and its descendants.

    `torch.nn.functional.normalize` clamps the norm instead. They differ near the origin only,
    where the gradient here is 1 / sqrt(epsilon) instead of 1 / epsilon.
    """
    return points * (points.square().sum(-1, keepdim=True) + epsilon).rsqrt()


def squared_distances(
    left: Float[Tensor, "b d"], right: Float[Tensor, "c d"]
) -> Float[Tensor, "b c"]:
    """Return |left|^2 - 2 left . right + |right|^2: no (B, C, D) tensor, one matrix product.

    The absolute error is a few roundings of |left|^2 + |right|^2, so the value may be below zero
    where the points coincide; clamp it before a root. Where small distances decide, take
    differences.
    """
    lengths = right.square().sum(1)
    return left.square().sum(1, keepdim=True) - 2 * (left @ right.T) + lengths


# --- Proxy-Anchor and what grew from it ---------------------------------------------------------


class AnchorTerms(NamedTuple):
    """Terms of Proxy-Anchor by class; each (C,).

    Attributes:
        positive: ln(1 + sum over the class's samples of exp(-alpha (cosine - delta))).
        negative: ln(1 + sum over the other samples of exp(alpha (cosine + delta))).
    """

    positive: Float[Tensor, " c"]
    negative: Float[Tensor, " c"]


def anchor_terms(
    cosine: Float[Tensor, "b c"],
    own: Bool[Tensor, "b c"],
    *,
    alpha: float,
    delta: float,
    weights: Float[Tensor, "b c"] | None = None,
) -> AnchorTerms:
    """Return both terms of Proxy-Anchor (arXiv:2003.13911, eq. 4) for each class.

    A class without samples of one side has the term 0 there. Sums do not overflow.

    Args:
        cosine: Of each sample and each proxy.
        own: Where the proxy is that of the sample's class; see `own_class`.
        alpha: Scale.
        delta: Margin.
        weights: Factors on the exponents, margin included; None for 1.
    """
    signed = torch.where(own, delta - cosine, cosine + delta) * alpha
    exponent = signed if weights is None else signed * weights
    return AnchorTerms(
        log_one_plus_sum_exp(exponent, own, dim=0), log_one_plus_sum_exp(exponent, ~own, dim=0)
    )
