"""Retrieval metrics: pure functions of a ranking, means over the queries that are not lone.

Notation: R_q relevant items of query q, rel_q(i) 1 if the item at rank i is relevant and else 0,
P_q(i) = (1/i) * sum over j <= i of rel_q(j), f_q the rank of the first relevant item.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from harness.errors import HarnessError
from harness.evaluation.ranking import Ranking

# Metrics that `evaluate` finds by name, without loading plugins.
PLAIN = ("map_at_r", "r_precision", "precision_at_1", "mean_reciprocal_rank")
AT_K = ("recall_at_k",)


def mean_over_queries(ranking: Ranking, values: Shaped[Tensor, " q"]) -> float:
    """Return the float64 mean of one value per query, lone queries left out.

    Raises:
        HarnessError: Every query is lone.
    """
    counted = values[ranking.has_relevant].double()
    if len(counted) == 0:
        raise HarnessError(
            f"none of the {ranking.num_queries} queries has a relevant item in the gallery",
            hint="classes need at least 2 images, or a gallery that holds their class",
        )
    return float(counted.mean())


def map_at_r(ranking: Ranking) -> float:
    """Return mean average precision at R, in [0, 1] (arXiv:2003.08505, eq. 2).

    mean over q of (1 / R_q) * sum over i <= R_q of rel_q(i) P_q(i)
    """
    return mean_over_queries(ranking, ranking.average_precision_at_r)


def r_precision(ranking: Ranking) -> float:
    """Return mean precision among the first R, in [0, 1].

    mean over q of (1 / R_q) * sum over i <= R_q of rel_q(i)
    """
    return mean_over_queries(ranking, ranking.r_precision)


def precision_at_1(ranking: Ranking) -> float:
    """Return the share of queries whose nearest neighbour is relevant, in [0, 1].

    mean over q of rel_q(1); the same number as Recall@1.
    """
    return recall_at_k(ranking, k=1)


def recall_at_k(ranking: Ranking, *, k: int) -> float:
    """Return the share of queries with a relevant item among the first k, in [0, 1].

    mean over q of [0 < f_q <= k]
    """
    first = ranking.first_hit_rank
    return mean_over_queries(ranking, (first > 0) & (first <= k))


def mean_reciprocal_rank(ranking: Ranking) -> float:
    """Return the mean reciprocal rank of the first relevant item, in [0, 1].

    mean over q of 1 / f_q; the rank is exact however deep it lies.
    """
    return mean_over_queries(ranking, 1 / ranking.first_hit_rank.double())


def mean_average_precision(ranking: Ranking) -> float:
    """Return mean average precision over the whole gallery, in [0, 1].

    mean over q of (1 / R_q) * sum over all i of rel_q(i) P_q(i)
    """
    sums = ranking.precision_sum(len(ranking.gallery))
    return mean_over_queries(ranking, sums / ranking.num_relevant.clamp(min=1))


def map_at_k(ranking: Ranking, *, k: int) -> float:
    """Return mean average precision cut off at a fixed k, in [0, 1].

    mean over q of (1 / R_q) * sum over i <= k of rel_q(i) P_q(i)

    Raises:
        HarnessError: k is below the largest R: the best score would be less than 1.
    """
    largest = int(ranking.num_relevant.max())
    if k < largest:
        raise HarnessError(
            f"map_at_{k} looks at fewer items than the {largest} that a query has to find",
            hint=f"use map_at_r, or map_at_{largest} and above",
        )
    sums = ranking.precision_sum(k)
    return mean_over_queries(ranking, sums / ranking.num_relevant.clamp(min=1))


# --- macro averages -----------------------------------------------------------------------------


def mean_over_classes(ranking: Ranking, values: Shaped[Tensor, " q"]) -> float:
    """Return the mean over classes of the mean over their queries, lone queries left out.

    Raises:
        HarnessError: Every query is lone.
    """
    mean_over_queries(ranking, values)
    counted = ranking.has_relevant
    index = torch.unique(ranking.labels[counted], return_inverse=True)[1]
    sums = torch.bincount(index, values[counted].double())
    return float((sums / torch.bincount(index)).mean())


def macro_map_at_r(ranking: Ranking) -> float:
    """Return MAP@R with each class, not each query, weighted equally, in [0, 1].

    mean over classes of the mean over q of the class of AP@R_q; see `map_at_r`.
    """
    return mean_over_classes(ranking, ranking.average_precision_at_r)


def macro_r_precision(ranking: Ranking) -> float:
    """Return R-precision with each class weighted equally, in [0, 1].

    mean over classes of the mean over q of the class of R-precision; see `r_precision`.
    """
    return mean_over_classes(ranking, ranking.r_precision)


def macro_recall_at_k(ranking: Ranking, *, k: int) -> float:
    """Return Recall@k with each class weighted equally, in [0, 1].

    mean over classes of the mean over q of the class of [0 < f_q <= k]; see `recall_at_k`.
    """
    first = ranking.first_hit_rank
    return mean_over_classes(ranking, (first > 0) & (first <= k))


def macro_precision_at_1(ranking: Ranking) -> float:
    """Return P@1 with each class weighted equally, in [0, 1].

    mean over classes of the mean over q of the class of rel_q(1); see `precision_at_1`.
    """
    return macro_recall_at_k(ranking, k=1)


# --- as the authors of arXiv:2002.08473 define them ----------------------------------------------


def _mean_over_all(values: Shaped[Tensor, " q"]) -> float:
    """Return the mean over all queries; lone ones have 0, as in that code."""
    return float(values.double().mean())


def _over_class_size(ranking: Ranking, sums: Float[Tensor, " q"]) -> float:
    """Return the mean of precision sums divided by the class size, the query included."""
    return _mean_over_all(sums / (ranking.num_relevant + 1))


def rdml_recall_at_k(ranking: Ranking, *, k: int) -> float:
    """Return Recall@k over all queries, in [0, 1]; lone queries score 0.

    (1 / Q) * sum over q of [0 < f_q <= k]; `recall_at_k` leaves lone queries out instead.
    """
    first = ranking.first_hit_rank
    return _mean_over_all((first > 0) & (first <= k))


def rdml_map(ranking: Ranking) -> float:
    """Return average precision over the gallery, over the class size with the query; below 1.

    (1 / Q) * sum over q of (1 / (R_q + 1)) * sum over all i of rel_q(i) P_q(i). Perfect retrieval
    scores the mean of R / (R + 1). Without that code's phantom hit from asking for one neighbour
    too many.
    """
    return _over_class_size(ranking, ranking.precision_sum(len(ranking.gallery)))


def rdml_map_1000(ranking: Ranking) -> float:
    """Return `rdml_map` cut off at rank 1000, the value that code logs.

    (1 / Q) * sum over q of (1 / (R_q + 1)) * sum over i <= 1000 of rel_q(i) P_q(i)
    """
    return _over_class_size(ranking, ranking.precision_sum(min(1000, len(ranking.gallery))))


def rdml_map_lim(ranking: Ranking) -> float:
    """Return `rdml_map` cut off at rank 1023, what a GPU index of that code could return.

    (1 / Q) * sum over q of (1 / (R_q + 1)) * sum over i <= 1023 of rel_q(i) P_q(i)
    """
    return _over_class_size(ranking, ranking.precision_sum(min(1023, len(ranking.gallery))))


def rdml_map_c(ranking: Ranking) -> float:
    """Return `rdml_map` cut off at the class size; near MAP@R, but not equal to it.

    (1 / Q) * sum over q of (1 / (R_q + 1)) * sum over i <= R_q + 1 of rel_q(i) P_q(i)
    """
    return _over_class_size(ranking, ranking.precision_sum_past_r)
