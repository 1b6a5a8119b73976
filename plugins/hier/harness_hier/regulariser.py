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

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from harness.kit.pairs import same_class

_AT_ONCE = 2**19  # entries of a (triplets, P) matrix that are worked on together


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
    """Return noise that is drawn slice by slice, in order."""

    def draw(part: slice) -> Tensor:
        rows = len(range(*part.indices(num_triplets)))
        exponential = torch.empty(rows, num_proxies, dtype=like.dtype, device=generator.device)
        # an exponential draw can be 0 in float32, and its noise infinite
        smallest = torch.finfo(like.dtype).tiny
        return -exponential.exponential_(generator=generator).clamp_(min=smallest).log_()

    return lambda part: Noise(draw(part), draw(part))


# --- what their ancestors cost ------------------------------------------------------------------


def ancestor_term(
    distances: Float[Tensor, "n p"], draws: Draws, *, tau: float, margin: float
) -> Float[Tensor, ""]:
    """Return the mean of l over the triplets that count, 0 where none does.

    A few triplets are worked on at a time, forward and backward, so no (T, P) matrix exists: the
    gradient with respect to `distances` is accumulated on the way forward.
    """
    triplets, num_proxies = draws.triplets, distances.shape[1]
    rows = max(1, _AT_ONCE // num_proxies)

    def parts() -> Iterator[Callable[[Tensor], Tensor]]:
        for start in range(0, len(triplets.first), rows):
            part = slice(start, start + rows)
            chosen = Triplet(*(index[part] for index in triplets))
            noise = draws.noise(part)
            yield lambda leaf, chosen=chosen, noise=noise: _sum_of_costs(
                leaf, chosen, noise, tau=tau, margin=margin
            )

    total: Tensor = _SumOfParts.apply(distances, parts())  # pyright: ignore[reportAssignmentType]
    return total / triplets.counts.sum().clamp(min=1)


def ancestor_logits(
    distances: Float[Tensor, "n p"], triplets: Triplet, noise: Noise, *, tau: float
) -> Noise:
    """Return the logits of both ancestors, noise included."""
    pair = torch.maximum(distances[triplets.first], distances[triplets.second])
    triple = torch.maximum(pair, distances[triplets.third])
    return Noise(noise.pair - pair / tau, noise.triple - triple / tau)


def _sum_of_costs(
    distances: Tensor, triplets: Triplet, noise: Noise, *, tau: float, margin: float
) -> Float[Tensor, ""]:
    logits = ancestor_logits(distances, triplets, noise, tau=tau)
    # d_w - d_v of a point is its distances times this
    change = _one_hot(logits.pair) - _one_hot(logits.triple)
    closer = [
        functional.relu((distances[index] * (sign * change)).sum(1) + margin)
        for index, sign in ((triplets.first, 1), (triplets.second, 1), (triplets.third, -1))
    ]
    differ = logits.pair.argmax(1) != logits.triple.argmax(1)
    return (torch.stack(closer).sum(0) * (differ & triplets.counts)).sum()


def _one_hot(logits: Float[Tensor, "t p"]) -> Float[Tensor, "t p"]:
    """Return the one-hot of the largest logit, with the gradient of the softmax."""
    soft = logits.softmax(1)
    hard = torch.zeros_like(soft).scatter_(1, logits.argmax(1, keepdim=True), 1)
    return hard - soft.detach() + soft


class _SumOfParts(torch.autograd.Function):
    """Sum scalars of one tensor, with the graph of one part alive at a time."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, values: Tensor, parts: Iterable[Callable[[Tensor], Tensor]]
    ) -> Tensor:
        total, gradient = values.new_zeros(()), torch.zeros_like(values)
        wanted: bool = ctx.needs_input_grad[0]  # pyright: ignore[reportAttributeAccessIssue]
        for part in parts:
            leaf = values.detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                value = part(leaf)
            if wanted:
                gradient += torch.autograd.grad(value, leaf)[0]
            total += value.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch's is untyped
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None]:
        (of_values,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        return gradient * of_values, None
