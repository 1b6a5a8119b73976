"""One term of HIER: who is related, which triplets are drawn, and what their ancestors cost.

Shapes: N points, P hierarchical proxies, T triplets, t triplets of one anchor.

For a triplet (i, j, k) of two related points and a third, the ancestor w of i and j is the proxy
p with the smallest max(d_ip, d_jp), the ancestor v of all three that with the smallest maximum of
three distances, both under Gumbel noise g:

    w = onehot(argmax(g - max(d_i, d_j) / tau))      forward; softmax of the same on the way back
    l = [d_iw - d_iv + margin]+ + [d_jw - d_jv + margin]+ + [d_kv - d_kw + margin]+

and l = 0 where w = v. The term is the mean of l over all triplets, those with l = 0 included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from harness.kit.pairs import same_class

_AT_ONCE = 2**18  # entries of a (triplets, P) matrix that are worked on together
_SIGNS = 1, 1, -1  # of d_w - d_v in the three hinges


class Triplet(NamedTuple):
    """Triplets as three index tensors, and which of them count; all (T,)."""

    first: Int[Tensor, " t"]
    second: Int[Tensor, " t"]
    third: Int[Tensor, " t"]
    counts: Bool[Tensor, " t"]


class Noise(NamedTuple):
    """Gumbel noise of both ancestors, (T, P) each."""

    pair: Float[Tensor, "t p"]
    triple: Float[Tensor, "t p"]


NoiseOf = Callable[[slice], Noise]
"""Noise of some of the triplets, so that it need not exist all at once."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of a term.

    Attributes:
        triplets: Which points.
        noise: Of their ancestors.
    """

    triplets: Triplet
    noise: NoiseOf


# --- who is related -----------------------------------------------------------------------------


def similarity(
    distances: Float[Tensor, "n n"], labels: Int[Tensor, " n"] | None = None
) -> Float[Tensor, "n n"]:
    """Return exp(-d), plus 1 for points of one class where labels are given."""
    near = torch.exp(-distances)
    return near if labels is None else near + same_class(labels)


def related_points(similarities: Float[Tensor, "n n"], *, topk: int) -> Bool[Tensor, "n n"]:
    """Return where two points are among each other's `topk` most similar.

    A point counts as one of its own `topk` and is never related to itself.
    """
    count = len(similarities)
    nearest = similarities.topk(min(topk, count), dim=1).indices
    near = torch.zeros_like(similarities, dtype=torch.bool).scatter_(1, nearest, value=True)
    return (near & near.T).fill_diagonal_(fill_value=False)


def anchors(related: Bool[Tensor, "n n"]) -> Bool[Tensor, " n"]:
    """Return which points are related to at least two others."""
    return related.sum(1) > 1


def draw_triplets(
    related: Bool[Tensor, "n n"], *, per_anchor: int, generator: torch.Generator
) -> Triplet:
    """Draw t related and t other points for each point, independently and with replacement.

    As published, a point counts among its own others. Points that are no anchors are drawn for,
    too, and do not count, so that no shape depends on the points.
    """
    count = len(related)
    first = torch.arange(count, device=related.device).repeat_interleave(per_anchor)
    second = _draw_from(related, per_anchor, generator).flatten()
    third = _draw_from(~related, per_anchor, generator).flatten()
    return Triplet(first, second, third, anchors(related).repeat_interleave(per_anchor))


def _draw_from(
    pool: Bool[Tensor, "n n"], count: int, generator: torch.Generator
) -> Int[Tensor, "n t"]:
    """Return columns of the pool of each row; column 0 and up where a pool is empty."""
    members = pool.int().sort(dim=1, descending=True, stable=True).indices
    size = pool.sum(1, keepdim=True)
    uniform = torch.rand(len(pool), count, generator=generator, device=generator.device)
    place = (uniform * size).long()
    return members.gather(1, torch.minimum(place, (size - 1).clamp(min=0)))


def gumbel_noise(
    num_triplets: int, num_proxies: int, *, like: Tensor, generator: torch.Generator
) -> NoiseOf:
    """Return noise -log(-log u) that is drawn slice by slice, in order."""

    def draw(part: slice) -> Tensor:
        rows = len(range(*part.indices(num_triplets)))
        # ten times as fast as an exponential draw on a CPU, and the same whatever the dtype
        uniform = torch.rand(rows, num_proxies, device=generator.device, generator=generator)
        uniform.clamp_(min=torch.finfo(uniform.dtype).tiny)  # a draw can be 0
        return uniform.log_().neg_().log_().neg_().to(like.dtype)

    return lambda part: Noise(draw(part), draw(part))


# --- what their ancestors cost ------------------------------------------------------------------


def ancestor_term(
    distances: Float[Tensor, "n p"], draws: Draws, *, tau: float, margin: float
) -> Float[Tensor, ""]:
    """Return the mean of l over the triplets that count, 0 where none does.

    A few triplets are worked on at a time, forward and backward, so no (T, P) matrix exists: the
    gradient with respect to `distances` is accumulated on the way forward.
    """
    total: Tensor = _SumOfCosts.apply(  # pyright: ignore[reportAssignmentType] - untyped
        distances, draws, tau, margin
    )
    return total / draws.triplets.counts.sum().clamp(min=1)


def ancestor_logits(
    distances: Float[Tensor, "n p"], triplets: Triplet, noise: Noise, *, tau: float
) -> Noise:
    """Return the logits of both ancestors, noise included."""
    pair = torch.maximum(distances[triplets.first], distances[triplets.second])
    triple = torch.maximum(pair, distances[triplets.third])
    return Noise(noise.pair - pair / tau, noise.triple - triple / tau)


class _SumOfCosts(torch.autograd.Function):
    """Sum l over all triplets."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, distances: Tensor, draws: Draws, tau: float, margin: float
    ) -> Tensor:
        total, gradient = distances.new_zeros(()), torch.zeros_like(distances)
        rows = max(1, _AT_ONCE // distances.shape[1])
        for start in range(0, len(draws.triplets.first), rows):
            part = slice(start, start + rows)
            triplets = Triplet(*(index[part] for index in draws.triplets))
            noise = draws.noise(part)
            total += _add_costs(gradient, distances, triplets, noise, tau=tau, margin=margin)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch's is untyped
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None, None, None]:
        (of_distances,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        return gradient * of_distances, None, None, None


def _add_costs(
    gradient: Tensor,
    distances: Tensor,
    triplets: Triplet,
    noise: Noise,
    *,
    tau: float,
    margin: float,
) -> Float[Tensor, ""]:
    """Return the sum of l over some triplets and add its gradient to `gradient`."""
    rows = [distances[index] for index in triplets[:3]]
    pair = torch.maximum(rows[0], rows[1])
    triple = torch.maximum(pair, rows[2])
    soft_w = (noise.pair - pair / tau).softmax(1)
    soft_v = (noise.triple - triple / tau).softmax(1)
    w, v = soft_w.argmax(1, keepdim=True), soft_v.argmax(1, keepdim=True)

    # a related point should be nearer to w than to v, the third one nearer to v than to w
    costs = [
        sign * (row.gather(1, w) - row.gather(1, v)) + margin
        for row, sign in zip(rows, _SIGNS, strict=True)
    ]
    counted = (w != v) & triplets.counts[:, None]
    active = [((cost > 0) & counted).to(distances.dtype) for cost in costs]
    first, second, third = (hinge * sign for hinge, sign in zip(active, _SIGNS, strict=True))

    # through w and v: dl/dw = -dl/dv = sum of the rows whose hinge is active, signed
    pull = first * rows[0] + second * rows[1] + third * rows[2]
    of_pair = _through_softmax(soft_w, pull).div_(-tau)
    of_triple = _through_softmax(soft_v, pull).div_(tau)
    # the gradient of a maximum goes to the larger one
    of_third = torch.where(rows[2] > pair, of_triple, 0)
    of_pair += of_triple.sub_(of_third)
    of_first = torch.where(rows[0] >= rows[1], of_pair, 0)
    dense = of_first, of_pair.sub_(of_first), of_third
    for index, change, direct in zip(triplets[:3], dense, (first, second, third), strict=True):
        change.scatter_add_(1, w, direct).scatter_add_(1, v, -direct)
        gradient.index_add_(0, index, change)
    return (torch.cat(costs) * torch.cat(active)).sum()


def _through_softmax(soft: Float[Tensor, "t p"], value: Float[Tensor, "t p"]) -> Tensor:
    """Return the gradient of the logits from the gradient of their softmax."""
    return (value - (soft * value).sum(1, keepdim=True)).mul_(soft)
