"""How the queries lie in the embedding space: after arXiv:2002.08473, section 5.

Shapes: N queries, D embedding, C classes. Computed in float64.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.evaluation.embedding import Embeddings
from harness.evaluation.ranking import Ranking


def unranked(queries: Embeddings) -> Ranking:
    """Return a ranking of nothing, for metrics that look at the queries alone."""
    none = torch.zeros(len(queries), dtype=torch.int64)
    empty = none.new_empty(len(queries), 0)
    sums = none.double()
    return Ranking(
        query=queries,
        gallery=queries,
        num_relevant=none,
        first_hit_rank=none,
        precision_sum_at_r=sums,
        precision_sum_past_r=sums,
        hits_at_r=none,
        neighbor_ids=empty,
        neighbor_distances=empty.float(),
        distance="",
        backend="",
        precision_sum=lambda _: sums,
    )


def _classes(ranking: Ranking) -> tuple[Tensor, Int[Tensor, " n"]]:
    """Return unit embeddings and the class index of each."""
    values = nn.functional.normalize(ranking.query.values.double(), eps=1e-12)
    return values, torch.unique(ranking.query.labels, return_inverse=True)[1]


def _mean_distance(
    sums: Float[Tensor, "c d"], squares: Float[Tensor, " c"], counts: Int[Tensor, " c"]
) -> Float[Tensor, " c"]:
    """Return the mean of 1 - x.y over the ordered pairs of each group, from sums of x and |x|^2.

    The sum of x.y over i != j is |sum of x|^2 - sum of |x|^2.
    """
    return 1 - (sums.square().sum(1) - squares) / (counts * (counts - 1))


def intra_class_distance(ranking: Ranking) -> float:
    """Return the mean over classes of the mean cosine distance between their items, in [0, 2].

    (1 / C) * sum over c of (1 / (n_c^2 - n_c)) * sum over i != j in c of (1 - x_i . x_j), over
    classes of at least 2 queries.

    Raises:
        HarnessError: No class has 2 queries.
    """
    values, index = _classes(ranking)
    counts = torch.bincount(index)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, index, values)
    squares = values.new_zeros(len(counts)).index_add_(0, index, values.square().sum(1))
    several = counts > 1
    if not bool(several.any()):
        raise HarnessError("intra_class_distance: no class has at least 2 queries")
    means = _mean_distance(sums[several], squares[several], counts[several])
    return max(0.0, float(means.mean()))


def inter_class_distance(ranking: Ranking) -> float:
    """Return the mean cosine distance between class centres, in [0, 2].

    (1 / (C^2 - C)) * sum over a != b of (1 - m_a . m_b), m_c the L2-normalised mean of class c.

    Raises:
        HarnessError: There is only one class.
    """
    _, index = _classes(ranking)
    counts = torch.bincount(index)
    if len(counts) == 1:
        raise HarnessError("inter_class_distance: all queries are of one class")
    values = ranking.query.values.double()
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, index, values)
    centres = nn.functional.normalize(sums / counts.unsqueeze(1), eps=1e-12)
    squares = centres.square().sum().unsqueeze(0)
    number = torch.tensor([len(counts)], device=centres.device)
    return max(0.0, float(_mean_distance(centres.sum(0, keepdim=True), squares, number)))


def intra_inter_ratio(ranking: Ranking) -> float:
    """Return intra-class over inter-class distance; smaller is a clearer separation.

    intra_class_distance / max(inter_class_distance, 1e-8)
    """
    return intra_class_distance(ranking) / max(inter_class_distance(ranking), 1e-8)


def spectrum(
    values: Float[Tensor, "n d"], *, leave_out: int = 0, leave_out_smallest: int = 0
) -> Float[Tensor, " s"]:
    """Return the singular values of the uncentred matrix, largest first, scaled to sum 1.

    Args:
        values: The matrix; min(N, D) values come of it.
        leave_out: How many of the largest to leave out before scaling.
        leave_out_smallest: How many of the smallest.

    Raises:
        HarnessError: Nothing is left, or all that is left is zero.
    """
    found = torch.linalg.svdvals(values.double())
    kept = found[leave_out : max(leave_out, len(found) - leave_out_smallest)]
    if len(kept) == 0 or float(kept.sum()) == 0:
        raise HarnessError(
            f"of {len(found)} singular values none is left without the {leave_out} largest and "
            f"{leave_out_smallest} smallest"
        )
    return kept / kept.sum()


def spectral_decay(ranking: Ranking, *, leave_out: int = 0, leave_out_smallest: int = 0) -> float:
    """Return rho, the divergence of the singular values from uniform; 0 is a flat spectrum.

    KL(uniform || s) = (1 / S) * sum over i of log(1 / (S s_i)) for the S scaled singular values
    s. The authors of arXiv:2002.08473 write it rho_spectrum@(leave_out + 1). Their CPU code drops
    the smallest singular value, which `leave_out_smallest=1` does; their GPU code does not.
    """
    found = spectrum(
        ranking.query.values, leave_out=leave_out, leave_out_smallest=leave_out_smallest
    )
    smallest = torch.finfo(found.dtype).tiny  # a singular matrix diverges; keep it finite
    return max(0.0, -float((found.clamp(min=smallest) * len(found)).log().mean()))


def rdml_spectral_decay(ranking: Ranking) -> float:
    """Return rho as the figures of arXiv:2002.08473 show it, of training embeddings there.

    `spectral_decay` without the largest and the smallest singular value: rho_spectrum@2 of that
    code on a CPU, its default.
    """
    return spectral_decay(ranking, leave_out=1, leave_out_smallest=1)


def spectral_decay_reverse(ranking: Ranking, *, leave_out_smallest: int = 0) -> float:
    """Return KL(s || uniform) = sum over i of s_i log(S s_i), in [0, log S].

    The authors of arXiv:2002.08473 write it rho_spectrum@-1; see `spectral_decay` for
    `leave_out_smallest`.
    """
    found = spectrum(ranking.query.values, leave_out_smallest=leave_out_smallest)
    positive = found[found > 0]
    value = float((positive * positive.log()).sum()) + math.log(len(found))
    return max(0.0, value)
